import CSQLite
import CommitLog
import SkeinCore

/// One SQLite connection, the only code that calls `sqlite3_*` besides `SQLiteStatement`.
///
/// Closes with its last reference. Threading: confined to one thread at a time (opened NOMUTEX).
package final class SQLiteConnection {
  package let vfs: DiskVFS
  /// What its errors call it: "the metadata store".
  private let subject: String
  private let handle: OpaquePointer
  /// Prepared once, by their text; the texts are constants of our own, so there are few.
  private var statements: [String: SQLiteStatement] = [:]
  /// Where SQLite's commit hook stores the pages in the write-ahead log.
  private let logPagesCell = UnsafeMutablePointer<Int32>.allocate(capacity: 1)

  package init(
    vfs: DiskVFS, path: String, subject: String = "the metadata store"
  ) throws(MetadataError) {
    self.vfs = vfs
    self.subject = subject
    logPagesCell.initialize(to: 0)
    var handle: OpaquePointer?
    let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
    let code = sqlite3_open_v2(path, &handle, flags, vfs.name)
    guard let handle else {
      throw MetadataError(.overloaded, "no memory to open \(subject)")
    }
    self.handle = handle
    guard code == SQLITE_OK else {
      let error = Self.error(code, handle: handle, vfs: vfs, subject: subject)
      sqlite3_close_v2(handle)
      throw error
    }
    sqlite3_extended_result_codes(handle, 1)
    // This also turns off SQLite's own checkpoints, which would swallow a failed sync (R56).
    sqlite3_wal_hook(
      handle,
      { cell, _, _, pages in
        cell?.assumingMemoryBound(to: Int32.self).pointee = pages
        return SQLITE_OK
      }, logPagesCell)
  }

  deinit {
    statements.removeAll()
    sqlite3_close_v2(handle)
    logPagesCell.deallocate()
  }

  /// Pages in the write-ahead log after the last commit.
  package var logPages: Int { Int(logPagesCell.pointee) }

  /// Runs SQL without parameters and without results.
  package func execute(_ sql: String) throws(MetadataError) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    guard code == SQLITE_OK else { throw error(code) }
  }

  /// The prepared statement of this text, reset and ready to be bound.
  package func prepare(_ sql: String) throws(MetadataError) -> SQLiteStatement {
    if let statement = statements[sql] {
      statement.reset()
      return statement
    }
    var pointer: OpaquePointer?
    let code = sqlite3_prepare_v3(
      handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &pointer, nil)
    guard code == SQLITE_OK, let pointer else { throw error(code) }
    let statement = SQLiteStatement(pointer, connection: self)
    statements[sql] = statement
    return statement
  }

  /// True while a transaction is open: after some errors SQLite has rolled back by itself.
  package var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

  package enum Checkpoint {
    /// Copies the write-ahead log into the database file; it is overwritten from its start next.
    case restart
    /// The same, and cuts the log to nothing.
    case truncate
  }

  package func checkpoint(_ kind: Checkpoint) throws(MetadataError) {
    let mode = kind == .restart ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_TRUNCATE
    let code = sqlite3_wal_checkpoint_v2(handle, nil, mode, nil, nil)
    guard code == SQLITE_OK else { throw error(code) }
    logPagesCell.pointee = 0
  }

  /// What a result code means, with the disk's own word on it.
  func error(_ code: Int32) -> MetadataError { Self.error(code, handle: handle, vfs: vfs, subject: subject) }

  private static func error(
    _ code: Int32, handle: OpaquePointer, vfs: DiskVFS, subject: String
  ) -> MetadataError {
    let cause = vfs.takeLastError()
    let text = cause.map(\.description) ?? String(cString: sqlite3_errmsg(handle))
    if vfs.isFailed { return MetadataError(.offline, "the disk of \(subject) failed: \(text)") }
    switch code & 0xff {
    case SQLITE_FULL:
      return MetadataError(.noSpace, "no space for \(subject): \(text)")
    case SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_SCHEMA, SQLITE_ERROR:
      return MetadataError(.unreadable, "\(subject) cannot be read: \(text)")
    default:
      // Not foreseen, so nothing may be assumed about what comes after it.
      vfs.isFailed = true
      return MetadataError(.offline, "\(subject) failed with SQLite's code \(code): \(text)")
    }
  }
}
