import SkeinCore
import Transport

/// Whether a call changes something, and so whether silence leaves a doubt.
enum EtcdEffect {
  case read
  case change
}

extension MetadataError {
  /// What a gRPC status of etcd means.
  ///
  /// A sentence that begins with "etcdserver: " is etcd's own refusal, which it makes before it applies
  /// anything, if its code is one for refusals. Whatever else ends a change leaves its outcome unknown,
  /// unless the transport knows that etcd never saw it (R11, R42).
  init(_ status: GRPCStatus, _ effect: EtcdEffect) {
    let prefix = "etcdserver: "
    if status.message.hasPrefix(prefix) {
      let sentence = String(status.message.dropFirst(prefix.count))
      if let kind = Self.refusals[sentence] {
        self.init(kind, "etcd: \(sentence)")
        return
      }
      if Self.refusingCodes.contains(status.code) {
        self.init(.refused, "etcd: \(sentence)")
        return
      }
    }
    let isDefinite = effect == .read || status.isDefinitelyUnprocessed
    // Only our own transport says this without etcd's prefix: the answer is longer than it takes.
    let isTooLarge = status.code == .resourceExhausted && effect == .read
    self.init(
      isTooLarge ? .resultTooLarge : .unavailable, "etcd did not answer: \(status)",
      outcome: isDefinite ? .definite : .unknown)
  }

  private static let refusals: [String: Kind] = [
    // etcd does not say which revision it is.
    "mvcc: required revision has been compacted": .compacted(at: .zero),
    "mvcc: required revision is a future revision": .futureRevision,
    "duplicate key given in txn request": .duplicateKey,
    "too many operations in txn request": .tooManyOperations,
    "key is not provided": .emptyKey,
    "request is too large": .requestTooLarge,
    "requested lease not found": .leaseNotFound,
    "lease already exists": .leaseExists,
    "too large lease TTL": .leaseTooLong,
    "mvcc: database space exceeded": .noSpace,
    "too many requests": .overloaded,
  ]

  private static let refusingCodes: Set<StatusCode> = [
    .invalidArgument, .notFound, .alreadyExists, .permissionDenied, .unauthenticated,
    .failedPrecondition, .outOfRange, .unimplemented,
  ]
}
