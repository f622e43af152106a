import SkeinCore

/// Reads: rows visible at a revision, in byte order of their keys.
extension SQLiteEngine {
  func range(_ request: RangeRequest) throws(MetadataError) -> RangeResult {
    guard !request.keys.start.isEmpty else { throw .emptyKey }
    try checkReadable(request.revision)
    return try range(request, newest: revision)
  }

  /// Throws unless that revision can be read; `.zero` always can.
  func checkReadable(_ asked: Revision) throws(MetadataError) {
    guard asked <= revision else { throw .futureRevision(asked, newest: revision) }
    guard asked <= .zero || asked >= compacted else { throw .compacted(at: compacted) }
  }

  /// - Parameter newest: the revision that the reader sees as newest: inside a transaction its own.
  func range(_ request: RangeRequest, newest: Revision) throws(MetadataError) -> RangeResult {
    let at = request.revision > .zero && request.revision < newest ? request.revision : nil
    var result = RangeResult(revision: newest, keyValues: [], count: 0, more: false)
    if request.countOnly {
      result.count = try count(request.keys, at: at)
      return result
    }
    let limit = request.limit > 0 ? request.limit : Int.max
    var bytes = 0
    let rows = try select(request.keys, at: at)
    defer { rows.reset() }
    while try rows.step() {
      if result.keyValues.count == limit {
        result.more = true
        break
      }
      var row = try keyValue(rows)
      if request.keysOnly { row.value = [] }
      bytes += row.key.count + row.value.count
      guard bytes <= MetadataLimits.resultBytes else {
        throw MetadataError(
          .resultTooLarge,
          "the range holds more than \(MetadataLimits.resultBytes) bytes; ask with a limit")
      }
      result.keyValues.append(row)
    }
    result.count = result.more ? try count(request.keys, at: at) : result.keyValues.count
    return result
  }

  /// The current row of one key.
  func newest(_ key: [UInt8]) throws(MetadataError) -> KeyValue? {
    let rows = try select(.key(key), at: nil)
    defer { rows.reset() }
    return try rows.step() ? try keyValue(rows) : nil
  }

  // MARK: Rows

  static let columns = "id, created, version, lease, checksum, key, value"

  /// A row of `columns`, verified against its checksum.
  func keyValue(_ row: SQLiteStatement) throws(MetadataError) -> KeyValue {
    let stored = KeyValue(
      key: row.blob(5), value: row.blob(6), createRevision: Revision(row.integer(1)),
      modRevision: Self.revision(ofID: row.integer(0)), version: row.integer(2),
      lease: LeaseID(row.integer(3)))
    guard row.integer(4) == Self.checksum(stored) else {
      throw MetadataError(
        .unreadable, "the metadata row of revision \(stored.modRevision) fails its checksum")
    }
    return stored
  }

  /// CRC32C over everything in a row that never changes: SQLite's own pages carry no checksum.
  static func checksum(_ row: KeyValue) -> Int64 {
    let numbers = [
      row.modRevision.rawValue, row.createRevision.rawValue, row.version, row.lease.rawValue,
      Int64(row.key.count),
    ]
    var crc = numbers.map(\.littleEndian).withUnsafeBytes { CRC32C.checksum($0) }
    crc = row.key.withUnsafeBytes { CRC32C.checksum($0, seed: crc) }
    crc = row.value.withUnsafeBytes { CRC32C.checksum($0, seed: crc) }
    return Int64(crc)
  }

  private func select(_ keys: KeyRange, at revision: Revision?) throws(MetadataError) -> SQLiteStatement {
    let visible = revision == nil ? Self.isCurrent : Self.wasVisible
    let statement = try connection.prepare(
      "SELECT \(Self.columns) FROM entries WHERE \(Self.within(keys)) AND \(visible) ORDER BY key")
    return try bind(statement, keys, at: revision)
  }

  private func count(_ keys: KeyRange, at revision: Revision?) throws(MetadataError) -> Int {
    let visible = revision == nil ? Self.isCurrent : Self.wasVisible
    let statement = try connection.prepare(
      "SELECT count(*) FROM entries WHERE \(Self.within(keys)) AND \(visible)")
    try bind(statement, keys, at: revision)
    defer { statement.reset() }
    return try statement.step() ? Int(statement.integer(0)) : 0
  }

  private static let isCurrent = "superseded = ?3"
  private static let wasVisible = "superseded > ?3 AND id < ?4"

  private static func within(_ keys: KeyRange) -> String {
    switch keys.end {
    // ?2 is bound in every form, so that the numbers of the parameters stay.
    case .single: "key = ?1 AND key = ?2"
    case .below: "key >= ?1 AND key < ?2"
    case .unbounded: "key >= ?1 AND key >= ?2"
    }
  }

  @discardableResult
  private func bind(
    _ statement: SQLiteStatement, _ keys: KeyRange, at revision: Revision?
  ) throws(MetadataError) -> SQLiteStatement {
    let second: [UInt8]
    if case .below(let end) = keys.end { second = end } else { second = keys.start }
    guard let revision else {
      return try statement.bind(.blob(keys.start), .blob(second), .integer(SQLiteSchema.current))
    }
    return try statement.bind(
      .blob(keys.start), .blob(second), .integer(revision.rawValue),
      .integer(Self.firstID(of: revision.next)))
  }
}
