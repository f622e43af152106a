import CommitLog
import SkeinCore

/// The multi-version store itself, on one SQLite connection.
///
/// Threading: confined to the store's worker thread; nothing here is async. Extensions hold reads,
/// transactions, leases and watches.
final class SQLiteEngine {
  let connection: SQLiteConnection
  let configuration: SQLiteStore.Configuration
  let time: any TimeSource
  let random: any RandomSource
  /// Against a second opener, for the life of the engine.
  private let lock: any DiskLock

  /// The newest committed revision.
  var revision = Revision(1)
  /// Revisions below it cannot be read any more; 0 = all can.
  var compacted = Revision.zero
  var leases = LeaseTable()
  var watchers: [Int: Watcher] = [:]
  var lastWatcher = 0

  init(
    disk: any Disk, path: String, configuration: SQLiteStore.Configuration, time: any TimeSource,
    random: any RandomSource
  ) throws(MetadataError) {
    self.configuration = configuration
    self.time = time
    self.random = random
    do {
      lock = try disk.lock(path + ".lock")
    } catch {
      let kind: MetadataError.Kind = error.kind == .locked ? .locked : .offline
      throw MetadataError(kind, "the metadata store cannot be locked: \(error)")
    }
    let vfs = try DiskVFS(disk: disk, time: time, random: random)
    connection = try SQLiteConnection(vfs: vfs, path: path)
    try SQLiteSchema.prepare(connection, isDurable: configuration.isDurable)
    try load()
  }

  private func load() throws(MetadataError) {
    let newest = try connection.prepare("SELECT max(id) FROM entries")
    // The newest revision always keeps a row (see `compact`), so the table knows it.
    if try newest.step() { revision = max(Revision(1), Self.revision(ofID: newest.integer(0))) }
    newest.reset()
    let compaction = try connection.prepare("SELECT revision FROM compaction")
    if try compaction.step() { compacted = Revision(compaction.integer(0)) }
    compaction.reset()
    let now = time.monotonicNanoseconds
    let stored = try connection.prepare("SELECT id, seconds FROM leases")
    while try stored.step() {
      // How long this store was down is not known: each lease begins anew.
      leases.insert(LeaseID(stored.integer(0)), seconds: stored.integer(1), now: now)
    }
    stored.reset()
  }

  // MARK: Commit

  /// Runs `body` between BEGIN and COMMIT, or rolls back what it did.
  ///
  /// The outcome of a failed COMMIT is unknown, but for want of space: then the write-ahead log was
  /// cut before the commit record (DiskVFS), so that the transaction cannot come back.
  func commit<R>(_ body: () throws(MetadataError) -> R) throws(MetadataError) -> R {
    try requireOnline()
    try connection.execute("BEGIN IMMEDIATE")
    let result: R
    do {
      result = try body()
    } catch {
      rollBack()
      throw error
    }
    do {
      try connection.execute("COMMIT")
    } catch {
      rollBack()
      var error = error
      if error.kind != .noSpace { error.outcome = .unknown }
      throw error
    }
    checkpointIfDue()
    return result
  }

  /// Everything after a disk failure is refused: what is in memory may not be what is on disk (R56).
  func requireOnline() throws(MetadataError) {
    guard !connection.vfs.isFailed else {
      throw MetadataError(.offline, "the metadata store is offline since its disk failed; see the log")
    }
  }

  private func rollBack() {
    // SQLite may have rolled back by itself. An error here changes nothing: the connection is then
    // unusable and every later call says so.
    if connection.isInTransaction { try? connection.execute("ROLLBACK") }
  }

  private func checkpointIfDue() {
    guard connection.logPages >= configuration.checkpointPages else { return }
    // The commit stands whatever happens here. Without space the log grows on and the next commit
    // tries again; any other failure has marked the disk as failed.
    try? connection.checkpoint(.restart)
  }

  // MARK: Compaction

  func compact(at target: Revision) throws(MetadataError) {
    guard target > compacted else { throw .compacted(at: compacted) }
    guard target <= revision else { throw .futureRevision(target, newest: revision) }
    try commit { () throws(MetadataError) in
      // Rows that ended at or before it. Its own deletions stay: a watch may begin there, and the
      // newest revision keeps at least one row.
      let ended = try connection.prepare("DELETE FROM entries WHERE id < ?1 AND superseded <= ?2")
      try ended.bind(.integer(Self.firstID(of: target)), .integer(target.rawValue)).run()
      try connection.prepare("UPDATE compaction SET revision = ?1")
        .bind(.integer(target.rawValue)).run()
    }
    compacted = target
  }

  /// Keeps history bounded when nobody compacts: twice the configured revisions at most.
  func compactIfDue() throws(MetadataError) {
    let keep = configuration.retainedRevisions
    guard keep > 0, revision.rawValue - compacted.rawValue > 2 * keep else { return }
    try compact(at: Revision(revision.rawValue - keep))
  }

  // MARK: Ids

  static func firstID(of revision: Revision) -> Int64 {
    revision.rawValue << SQLiteSchema.positionBits
  }
  static func revision(ofID id: Int64) -> Revision { Revision(id >> SQLiteSchema.positionBits) }
}

extension MetadataError {
  static func compacted(at revision: Revision) -> MetadataError {
    MetadataError(.compacted(at: revision), "revisions before \(revision) were compacted")
  }
  static func futureRevision(_ asked: Revision, newest: Revision) -> MetadataError {
    MetadataError(.futureRevision, "revision \(asked) has not happened; the newest is \(newest)")
  }
}
