import CSQLite

/// A prepared statement, owned by its connection's cache.
///
/// Use: `bind` in order, `step` while it returns true, then `reset`, which `prepare` also does. Bound
/// bytes are copied by SQLite. Threading: as its connection.
package final class SQLiteStatement {
  private let handle: OpaquePointer
  private unowned let connection: SQLiteConnection

  init(_ handle: OpaquePointer, connection: SQLiteConnection) {
    self.handle = handle
    self.connection = connection
  }

  deinit { sqlite3_finalize(handle) }

  package enum Value {
    case integer(Int64)
    case blob([UInt8])
  }

  @discardableResult
  package func bind(_ values: Value...) throws(MetadataError) -> SQLiteStatement {
    for (index, value) in values.enumerated() {
      let code: Int32 =
        switch value {
        case .integer(let number): sqlite3_bind_int64(handle, Int32(index + 1), number)
        case .blob(let bytes): bindBlob(bytes, at: Int32(index + 1))
        }
      guard code == SQLITE_OK else { throw connection.error(code) }
    }
    return self
  }

  private func bindBlob(_ bytes: [UInt8], at index: Int32) -> Int32 {
    // A nil pointer would bind NULL, so an empty blob takes its own call.
    if bytes.isEmpty { return sqlite3_bind_zeroblob(handle, index, 0) }
    let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
    return bytes.withUnsafeBytes {
      sqlite3_bind_blob64(handle, index, $0.baseAddress, UInt64($0.count), transient)
    }
  }

  /// Goes to the next row; false at the end.
  package func step() throws(MetadataError) -> Bool {
    switch sqlite3_step(handle) {
    case SQLITE_ROW: return true
    case SQLITE_DONE: return false
    case let code: throw connection.error(code)
    }
  }

  /// Runs a statement that returns no rows.
  package func run() throws(MetadataError) {
    while try step() {}
    reset()
  }

  package func reset() {
    // Its result repeats that of the last step, which was looked at there.
    sqlite3_reset(handle)
  }

  package func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

  package func blob(_ column: Int32) -> [UInt8] {
    let count = Int(sqlite3_column_bytes(handle, column))
    guard count > 0, let base = sqlite3_column_blob(handle, column) else { return [] }
    return Array(UnsafeRawBufferPointer(start: base, count: count))
  }
}
