package import CommitLog
package import SkeinCore

/// The metadata of a broker that runs alone: SQLite in WAL mode, synced before each answer, its files
/// on a `Disk` (ADR 0003).
///
/// All work is done in order by one thread of its own, so no event loop waits for a disk. One store
/// at a time may have a path open; the lock file beside it refuses a second. It must be closed: until then
/// its thread and files stay.
///
/// **After a disk error** (I/O, failed sync) the store is offline: every call throws `.offline` until it
/// is closed and opened again, and the call that met the error has an unknown outcome if it was
/// committing. Want of space is different: that call is undone, `.noSpace`, and the store goes on.
package final class SQLiteStore: MetadataStore {
  package struct Configuration: Sendable {
    /// Revisions of history that automatic compaction leaves, at least; it runs when there are twice
    /// as many. 0 = compact only when asked.
    package var retainedRevisions: Int64 = 10_000
    /// Pages (of 4 KiB) in the write-ahead log after which it is copied into the database.
    package var checkpointPages = 1_000
    /// False answers without syncing, and loses data with the power: only for the negative control of
    /// the power-cut tests.
    package var isDurable = true

    package init() {}
  }

  private let worker: SerialWorker<SQLiteEngine>

  private init(worker: SerialWorker<SQLiteEngine>) { self.worker = worker }

  /// Opens or creates the store at `path` (its folder must exist). Beside it come `path-wal` and
  /// `path.lock`.
  package static func open(
    disk: any Disk, path: String, configuration: Configuration = Configuration(),
    time: any TimeSource, random: any RandomSource
  ) async throws(MetadataError) -> SQLiteStore {
    let worker = SerialWorker<SQLiteEngine>(limit: MetadataLimits.queuedCalls)
    do {
      try await worker.start { () throws(MetadataError) in
        try SQLiteEngine(
          disk: disk, path: path, configuration: configuration, time: time, random: random)
      }
    } catch {
      await worker.close { _ in }
      throw error
    }
    return SQLiteStore(worker: worker)
  }

  package func close() async {
    await worker.close { $0.endAllWatchers() }
  }

  // MARK: MetadataStore

  package func range(_ request: RangeRequest) async throws(MetadataError) -> RangeResult {
    try await perform { (engine) throws(MetadataError) in try engine.range(request) }
  }

  package func transact(_ transaction: Transaction) async throws(MetadataError) -> TransactionResult {
    try await perform { (engine) throws(MetadataError) in try engine.transact(transaction) }
  }

  package func compact(at revision: Revision) async throws(MetadataError) {
    try await perform { (engine) throws(MetadataError) in try engine.compact(at: revision) }
  }

  package func grantLease(timeToLive: Int64, id: LeaseID) async throws(MetadataError) -> LeaseGrant {
    try await perform { (engine) throws(MetadataError) in
      try engine.grantLease(timeToLive: timeToLive, id: id)
    }
  }

  package func keepAlive(_ lease: LeaseID) async throws(MetadataError) -> Int64 {
    try await perform { (engine) throws(MetadataError) in try engine.keepAlive(lease) }
  }

  package func revoke(_ lease: LeaseID) async throws(MetadataError) {
    try await perform { (engine) throws(MetadataError) in try engine.revoke(lease) }
  }

  package func timeToLive(_ lease: LeaseID, keys: Bool) async throws(MetadataError) -> LeaseStatus {
    try await perform { (engine) throws(MetadataError) in try engine.timeToLive(lease, keys: keys) }
  }

  package func watch(_ request: WatchRequest) async throws(MetadataError) -> MetadataWatch {
    let id = try await perform { (engine) throws(MetadataError) in try engine.addWatcher(request) }
    return MetadataWatch(Source(worker: worker, id: id))
  }

  /// Watches whose consumers wait for something to happen.
  package func waitingWatches() async throws(MetadataError) -> Int {
    try await perform { (engine) throws(MetadataError) in engine.waitingWatchers }
  }

  // MARK: Leases' time

  /// Ends the leases whose time is over, so that watches learn of it although nobody calls.
  package func expireLeases() async throws(MetadataError) {
    try await perform { (_) throws(MetadataError) in }
  }

  /// Ends leases in time until the task is cancelled; run it beside the store. Errors are left to the
  /// calls that others make.
  package func run() async {
    while !Task.isCancelled {
      try? await expireLeases()
      try? await Task.sleep(for: .milliseconds(500))
    }
  }

  private func perform<R: Sendable>(
    _ body: @escaping @Sendable (SQLiteEngine) throws(MetadataError) -> R
  ) async throws(MetadataError) -> R {
    try await worker.perform { (engine) throws(MetadataError) in
      try engine.requireOnline()
      try engine.expireLeases()
      return try body(engine)
    }
  }

  private final class Source: WatchSource {
    let worker: SerialWorker<SQLiteEngine>
    let id: Int

    init(worker: SerialWorker<SQLiteEngine>, id: Int) {
      self.worker = worker
      self.id = id
    }

    func next() async throws(MetadataError) -> [WatchUpdate]? {
      let answer: SQLiteEngine.WatchAnswer = await withTaskCancellationHandler {
        await withCheckedContinuation { (waiter: SQLiteEngine.WatchWaiter) in
          worker.enqueue { engine in
            guard let engine else { return waiter.resume(returning: .failure(.closed)) }
            engine.serve(self.id, waiter)
          }
        }
      } onCancel: {
        end()
      }
      return try answer.get()
    }

    func end() {
      worker.enqueue { [id] in $0?.endWatcher(id) }
    }
  }
}
