package import SkeinCore
internal import Synchronization

/// The work that threads do for a directory, in steps.
extension LogDirectory {
  // MARK: Submitting (any thread)

  /// Hands over entries in the order in which their partitions made them.
  package func submit(_ entries: consuming [PendingEntry]) { shared.queue.submit(entries) }

  /// Whether an append of `bytes` would find room (R48); a hint to grant credit by, `append` decides.
  package func canAccept(_ bytes: Int) -> Bool {
    shared.queue.canAccept(bytes)
      && shared.unwrittenBytes.load(ordering: .relaxed) <= shared.configuration.maxUnwrittenBytes
  }

  /// Batches in memory, bytes: for metrics.
  package var tailBytes: Int { shared.tailBytes.load(ordering: .relaxed) }
  package var unwrittenBytes: Int { shared.unwrittenBytes.load(ordering: .relaxed) }
  package var queuedBytes: Int { shared.queue.bytes }

  // MARK: Flusher thread

  /// One group commit (R47): everything submitted so far, one journal group, one sync. Empty when
  /// nothing waits, or when the journal is full (`isFlushBlocked`) until the write-behind thread
  /// has made room.
  ///
  /// Throws when the directory has gone offline: nothing that waits will ever be acknowledged; fail
  /// it with LOG_OFFLINE, outcome unknown.
  package func flushStep() throws(LogError) -> [DurableAdvance] {
    try online { () throws(LogError) in try flusher.step() } ?? []
  }

  /// Entries wait for room in the journal. Flusher thread.
  package var isFlushBlocked: Bool { flusher.isBlocked }

  // MARK: Write-behind thread

  /// One bounded piece of writing, syncing or checkpointing; true when there is more to do now. While
  /// the disk is full it returns false, and tries again when called again.
  package func writeBehindStep() throws(LogError) -> Bool {
    try online { () throws(LogError) in try writeBehind.step() } ?? false
  }

  /// Asks for a write-behind round although little waits; with `recycle` also for a checkpoint at its
  /// end. Any thread.
  package func requestRound(recycle: Bool = false) { backlog.request(recycle: recycle) }

  /// What belongs to time: space, retention, rolling by time, expiry of producers. Call it every
  /// second or so, on the write-behind thread. True when it submitted entries: wake the flusher.
  package func maintenanceStep() throws(LogError) -> Bool {
    try online { () throws(LogError) in try maintenance.step(segments: writeBehind.segments) } ?? false
  }

  // MARK: I/O threads

  /// Executes a read plan: whole v2 batches, verified. Throws DATA_CORRUPT (and takes the partition
  /// offline) when bytes fail their checks, OFFSET_OUT_OF_RANGE when retention was faster.
  package func read(_ plan: FileRead, budget: MemoryBudget? = nil) throws(Fault) -> FileReadResult {
    if shared.isOffline { throw shared.offlineFault }
    return try SegmentReader(shared: shared, store: plan.store, budget: budget).read(plan)
  }

  /// The first committed record at or after a time; nil when there is none.
  package func find(_ search: TimestampSearch) throws(Fault) -> TimestampFound? {
    if shared.isOffline { throw shared.offlineFault }
    return try TimestampFinder(shared: shared, search: search).find()
  }

  /// When the record that a search is about was appended, in milliseconds; nil when it is gone meanwhile.
  package func find(_ search: AppendTimeSearch) -> Int64? {
    AppendTimeFinder(shared: shared, search: search).find()
  }

  // MARK: End

  /// Makes everything durable, leaves the clean marker (R15) and gives up the directory's lock. All
  /// other threads have stopped; the advances it still made are returned. Throws `.full` when the disk
  /// has no room for what the journal holds: the next start replays it.
  package func close() throws(LogError) -> [DurableAdvance] {
    var advances: [DurableAdvance] = []
    while !flusher.isIdle {
      advances += try flushStep()
      if flusher.isBlocked { try finishWriting() }
    }
    backlog.request(recycle: true)
    try finishWriting()
    try online { () throws(LogError) in
      try onDisk { () throws(DiskError) in
        try CleanMarker.write(epoch: partitions.leaderEpoch, disk: shared.disk)
      }
    }
    lock.withLock { $0 = nil }
    return advances
  }

  /// Gives up the directory's lock and nothing else, as the end of a killed process does: what was not
  /// synced stays so, and the next start recovers. All other threads have stopped.
  package func abandon() { lock.withLock { $0 = nil } }

  private func finishWriting() throws(LogError) {
    while try writeBehindStep() {}
    guard writeBehind.isIdle else { throw .full(DiskError(.noSpace, operation: "close", path: "")) }
  }

  /// Runs a step; its error takes the directory offline, except that a full disk only makes it full
  /// (nil then): the step is tried again later.
  @discardableResult
  private func online<R>(_ step: () throws(LogError) -> R) throws(LogError) -> R? {
    if case .offline(let error) = state { throw error }
    do { return try step() } catch {
      if case .full = error {
        shared.setFull(true)
        return nil
      }
      shared.takeOffline(error)
      throw error
    }
  }
}
