/// The bounds of a metadata store. The first four are etcd's own, so that what SQLite takes today a
/// cluster takes tomorrow (R13).
package enum MetadataLimits {
  /// Operations in either list, and compares, of one transaction.
  package static let operations = 128
  /// Bytes of one request, as `Transaction.weight` counts them: 1.5 MiB.
  package static let requestBytes = 1_572_864
  /// Seconds; shorter leases are granted for this long.
  package static let leastLeaseSeconds: Int64 = 2
  /// Seconds.
  package static let mostLeaseSeconds: Int64 = 9_000_000_000
  /// Leases of a SQLite store; beyond it `.overloaded`.
  package static let leases = 65_536
  /// Bytes of keys and values in one range answer; beyond it `.resultTooLarge`: ask with a limit.
  package static let resultBytes = 64 << 20
  /// Keys that one transaction may change; beyond it `.tooManyChanges`.
  package static let changes = 1 << 17
  /// Calls waiting for the SQLite worker; beyond it `.overloaded`.
  package static let queuedCalls = 4_096
  /// Watches of one store; beyond it `.overloaded`.
  package static let watches = 4_096
  /// Bytes and revisions that one step of a watch reads; one whole revision may exceed it.
  package static let watchStepBytes = 1 << 20
  package static let watchStepRevisions = 256
}

extension Transaction {
  /// Upper bound of the bytes that this takes as etcd's `TxnRequest`: each field's bytes, plus 64 for
  /// tags, lengths and numbers of each part, so that nothing accepted here is too large there.
  package var weight: Int {
    var sum = 64
    for compare in compares {
      sum += 64 + compare.key.count
      if case .value(let value) = compare.target { sum += value.count }
    }
    for operation in success { sum += operation.weight }
    for operation in failure { sum += operation.weight }
    return sum
  }

  /// The refusals that etcd makes before it runs a transaction, in etcd's order.
  package func validate() throws(MetadataError) {
    let largest = max(compares.count, success.count, failure.count)
    guard largest <= MetadataLimits.operations else {
      throw MetadataError(
        .tooManyOperations,
        "the transaction has \(largest) operations in one list; the limit is \(MetadataLimits.operations)")
    }
    for compare in compares where compare.key.isEmpty { throw .emptyKey }
    for operation in success where operation.key.isEmpty { throw .emptyKey }
    for operation in failure where operation.key.isEmpty { throw .emptyKey }
    try Self.refuseDuplicates(in: success)
    try Self.refuseDuplicates(in: failure)
    guard weight <= MetadataLimits.requestBytes else {
      throw MetadataError(
        .requestTooLarge,
        "the transaction takes \(weight) bytes; the limit is \(MetadataLimits.requestBytes)")
    }
  }

  /// A key may be put once in a list, and not be deleted there as well.
  private static func refuseDuplicates(in operations: [Operation]) throws(MetadataError) {
    var deleted: [KeyRange] = []
    for case .delete(let keys, _) in operations { deleted.append(keys) }
    var put: Set<[UInt8]> = []
    for case .put(let key, _, _, _) in operations {
      guard put.insert(key).inserted, !deleted.contains(where: { $0.contains(key) }) else {
        throw MetadataError(
          .duplicateKey, "a key is put twice, or put and deleted, in one transaction")
      }
    }
  }
}

extension Operation {
  fileprivate var weight: Int {
    switch self {
    case .put(let key, let value, _, _): 64 + key.count + value.count
    case .delete(let keys, _): 64 + keys.weight
    case .range(let request): 64 + request.keys.weight
    }
  }

  fileprivate var key: [UInt8] {
    switch self {
    case .put(let key, _, _, _): key
    case .delete(let keys, _): keys.start
    case .range(let request): request.keys.start
    }
  }
}

extension KeyRange {
  fileprivate var weight: Int {
    if case .below(let end) = end { return start.count + end.count }
    return start.count + 1
  }
}
