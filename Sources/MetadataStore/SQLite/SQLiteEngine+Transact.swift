import SkeinCore

/// Transactions: compares, operations, one revision.
extension SQLiteEngine {
  func transact(_ transaction: Transaction) throws(MetadataError) -> TransactionResult {
    try transaction.validate()
    var succeeded = true
    for compare in transaction.compares where try !holds(compare) { succeeded = false }
    let operations = succeeded ? transaction.success : transaction.failure
    for case .range(let request) in operations { try checkReadable(request.revision) }

    let outcome = try write { (writer) throws(MetadataError) -> [OperationResult] in
      var results: [OperationResult] = []
      for operation in operations { results.append(try writer.apply(operation)) }
      return results
    }
    return TransactionResult(succeeded: succeeded, revision: revision, results: outcome)
  }

  /// Runs `body` with a writer at the next revision; if it changed something, commits, moves the
  /// revision on and wakes watches.
  func write<R>(_ body: (Writer) throws(MetadataError) -> R) throws(MetadataError) -> R {
    let writer = Writer(engine: self)
    let result = try commit { () throws(MetadataError) -> R in try body(writer) }
    guard !writer.changedKeys.isEmpty else { return result }
    revision = writer.revision
    wakeWatchers(writer.changedKeys)
    try? compactIfDue()
    return result
  }

  private func holds(_ compare: Compare) throws(MetadataError) -> Bool {
    let row = try newest(compare.key)
    switch compare.target {
    case .modRevision(let target):
      return compare.relation.holds(row?.modRevision ?? .zero, target)
    case .createRevision(let target):
      return compare.relation.holds(row?.createRevision ?? .zero, target)
    case .version(let target):
      return compare.relation.holds(row?.version ?? 0, target)
    case .value(let target):
      guard let row else { return false }
      return compare.relation.holds(Bytes(row.value), Bytes(target))
    }
  }

  /// The changes of one transaction, at the revision after the newest.
  final class Writer {
    private unowned let engine: SQLiteEngine
    private var connection: SQLiteConnection { engine.connection }
    let revision: Revision
    private(set) var changedKeys: [[UInt8]] = []

    init(engine: SQLiteEngine) {
      self.engine = engine
      revision = engine.revision.next
    }

    func apply(_ operation: Operation) throws(MetadataError) -> OperationResult {
      switch operation {
      case .put(let key, let value, let lease, let wantsPrevious):
        let previous = try put(key, value, lease: lease)
        return .put(previous: wantsPrevious ? previous : nil)
      case .delete(let keys, let wantsPrevious):
        let deleted = try delete(keys, values: wantsPrevious)
        return .delete(count: deleted.count, previous: wantsPrevious ? deleted : [])
      case .range(let request):
        return .range(try engine.range(request, newest: changedKeys.isEmpty ? engine.revision : revision))
      }
    }

    private func put(_ key: [UInt8], _ value: [UInt8], lease: LeaseID) throws(MetadataError) -> KeyValue? {
      guard lease == .none || engine.leases.contains(lease) else { throw .leaseNotFound(lease) }
      let previous = try engine.newest(key)
      if previous != nil { try supersede(key) }
      try insert(
        KeyValue(
          key: key, value: value, createRevision: previous?.createRevision ?? revision,
          modRevision: revision, version: (previous?.version ?? 0) &+ 1, lease: lease),
        superseded: SQLiteSchema.current)
      return previous
    }

    /// Deletes the keys that exist in a range and returns what they held.
    func delete(_ keys: KeyRange, values: Bool) throws(MetadataError) -> [KeyValue] {
      let found = try engine.range(
        RangeRequest(keys, keysOnly: !values), newest: engine.revision
      ).keyValues
      for row in found { try delete(row.key) }
      return found
    }

    func delete(_ key: [UInt8]) throws(MetadataError) {
      try supersede(key)
      let none = Revision.zero
      try insert(
        KeyValue(key: key, value: [], createRevision: none, modRevision: revision, version: 0),
        superseded: 0)
    }

    private func supersede(_ key: [UInt8]) throws(MetadataError) {
      let statement = try connection.prepare(
        "UPDATE entries SET superseded = ?1 WHERE key = ?2 AND superseded = ?3")
      try statement.bind(
        .integer(revision.rawValue), .blob(key), .integer(SQLiteSchema.current)
      ).run()
    }

    private func insert(_ row: KeyValue, superseded: Int64) throws(MetadataError) {
      guard changedKeys.count < MetadataLimits.changes else {
        throw MetadataError(
          .tooManyChanges, "the transaction changes more than \(MetadataLimits.changes) keys")
      }
      let id = SQLiteEngine.firstID(of: revision) + Int64(changedKeys.count)
      let statement = try connection.prepare(
        "INSERT INTO entries(\(SQLiteEngine.columns), superseded) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
      try statement.bind(
        .integer(id), .integer(row.createRevision.rawValue), .integer(row.version),
        .integer(row.lease.rawValue), .integer(SQLiteEngine.checksum(row)), .blob(row.key),
        .blob(row.value), .integer(superseded)
      ).run()
      changedKeys.append(row.key)
    }
  }
}

extension Compare.Relation {
  func holds<T: Comparable>(_ actual: T, _ target: T) -> Bool {
    switch self {
    case .equal: actual == target
    case .notEqual: actual != target
    case .less: actual < target
    case .greater: actual > target
    }
  }
}

/// Bytes in their natural order.
private struct Bytes: Comparable {
  let bytes: [UInt8]
  init(_ bytes: [UInt8]) { self.bytes = bytes }
  static func < (a: Bytes, b: Bytes) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}

extension MetadataError {
  static func leaseNotFound(_ lease: LeaseID) -> MetadataError {
    MetadataError(.leaseNotFound, "lease \(lease) does not exist; it was revoked or ran out")
  }
}
