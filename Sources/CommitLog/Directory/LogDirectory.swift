package import SkeinCore
internal import Synchronization

/// One log directory: the journal, the segments and checkpoints of many partitions. The broker drives
/// its steps from threads, the simulator from its scheduler; nothing in here starts a thread or reads
/// a clock of its own.
///
/// **Threads.** `flushStep` belongs to one thread, `writeBehindStep` and `maintenanceStep` together to
/// another, `read` and `find` to any I/O thread; partitions to their home executors; `close` to
/// whoever has stopped all of these. Every other member may be called from any thread.
///
/// **Errors.** After an I/O error the directory is offline for ever (R56): steps throw, appends and
/// reads are refused with LOG_OFFLINE. A full disk is a condition, not an error (R57): `state` is
/// `.full`, produce is refused with DISK_FULL, everything else goes on.
package final class LogDirectory: Sendable {
  package enum State: Sendable {
    case online
    case full
    case offline(LogError)
  }

  /// What recovery found, for the start's log lines.
  package struct RecoveryReport: Sendable {
    package var wasClean: Bool
    package var leaderEpoch: LeaderEpoch
    /// The journal ended in writes that were never synced.
    package var torn: Bool
    package var corruptPartitions: [TopicPartition]
  }

  let shared: DirectoryShared
  let backlog: Backlog
  let partitions: PartitionMap
  package let identity: TopicID
  package let recovery: RecoveryReport

  /// Topics deleted by this process: their folders may still be there, and are not unknown.
  private let deleted = Mutex<Set<TopicID>>([])
  /// Held until `close`.
  let lock: Mutex<(any DiskLock)?>
  /// The flusher thread's.
  nonisolated(unsafe) let flusher: Flusher
  /// The write-behind thread's.
  nonisolated(unsafe) let writeBehind: WriteBehind
  /// The write-behind thread's.
  nonisolated(unsafe) var maintenance: Maintenance
  let scrubber: Scrubber
  let cleaner: Cleaner

  /// Opens or creates the directory at the disk's root and recovers it: when this returns everything
  /// that is served is durable (R53), the leader epoch is raised and that is durable too (R22).
  /// - Throws: `.locked` when another process has it, `.invalidFormat` for another cluster or version,
  ///   `.offline` and `.full` as the disk says. Damage to a partition does not throw: it is offline.
  package static func open(
    disk: any Disk, configuration: LogConfiguration, time: any TimeSource, random: any RandomSource
  ) throws(LogError) -> LogDirectory {
    let lock = try onDisk { () throws(DiskError) in try disk.lock(LogPaths.lock) }
    let identity = try DirectoryIdentity.establish(
      clusterID: configuration.clusterID, disk: disk, random: random)
    let shared = DirectoryShared(disk: disk, configuration: configuration, time: time)
    let segments = SegmentFiles(shared: shared)
    let cleanEpoch = try onDisk { () throws(DiskError) in
      for folder in [LogPaths.topics, LogPaths.setAside, LogPaths.recycled] {
        try disk.createDirectory(folder)
      }
      try disk.syncDirectory("")
      try segments.recycled.load()
      return try CleanMarker.take(disk: disk)
    }
    var recovery = try Recovery(shared: shared, segments: segments, cleanEpoch: cleanEpoch)
    try recovery.loadCheckpoint()
    let (journal, found) = try Journal.open(
      disk: disk, directory: LogPaths.journal, configuration: configuration.journal, random: random)
    // Without a clean close the journal may hold acknowledged records that no segment has: its
    // absence is a loss to be told, not a first start (R52). Its folder comes before any checkpoint.
    if found.created, recovery.checkpoints.generation > 0, !recovery.wasClean {
      throw .corrupt(
        nil,
        what:
          "the folder \(LogPaths.journal) is gone although the directory was not closed cleanly, so acknowledged records may be missing; restore the folder"
      )
    }
    shared.largestEntry.store(Int(clamping: journal.largestPayload), ordering: .relaxed)
    try recovery.replay(found)
    recovery.finish()

    let raise: Int32 = configuration.breakages.contains(.keepLeaderEpoch) ? 0 : 1
    let epoch = recovery.highestEpoch + raise
    let partitions = PartitionMap(
      leaderEpoch: epoch,
      logs: recovery.stores.mapValues { store in
        PartitionLog(store: store, shared: shared, epoch: LeaderEpoch(epoch))
      })
    let backlog = Backlog()
    let writeBehind = WriteBehind(
      shared: shared, backlog: backlog, partitions: partitions, journal: journal,
      checkpoints: recovery.checkpoints, segments: segments, position: found.end)
    try writeBehind.settleRecovery(deletedTopics: recovery.deletedTopics)
    return LogDirectory(
      shared: shared, backlog: backlog, partitions: partitions, identity: identity.id, lock: lock,
      flusher: Flusher(shared: shared, backlog: backlog, journal: journal), writeBehind: writeBehind,
      report: RecoveryReport(
        wasClean: recovery.wasClean, leaderEpoch: LeaderEpoch(epoch), torn: found.torn,
        corruptPartitions: partitions.all.filter { $0.corruption != nil }.map(\.key)))
  }

  private init(
    shared: DirectoryShared, backlog: Backlog, partitions: PartitionMap, identity: TopicID,
    lock: any DiskLock, flusher: Flusher, writeBehind: WriteBehind, report: RecoveryReport
  ) {
    self.shared = shared
    self.backlog = backlog
    self.partitions = partitions
    self.identity = identity
    self.lock = Mutex(lock)
    self.flusher = flusher
    self.writeBehind = writeBehind
    self.maintenance = Maintenance(shared: shared, partitions: partitions, backlog: backlog)
    self.recovery = report
    self.scrubber = Scrubber(shared: shared, partitions: partitions)
    self.cleaner = Cleaner(shared: shared, partitions: partitions, backlog: backlog)
  }

  package var state: State { shared.state }

  // MARK: Partitions

  /// The partition with these settings; an existing one gets them and keeps its records. Touches no
  /// disk: a partition without records costs memory only. Before its home executor uses it, or there.
  package func createPartition(_ key: TopicPartition, settings: PartitionSettings) -> PartitionLog {
    let log = partitions.findOrInsert(key) {
      PartitionLog(
        store: PartitionStore(key: key), shared: shared, epoch: LeaderEpoch(partitions.leaderEpoch))
    }
    log.setSettings(settings)
    return log
  }

  package func partition(_ key: TopicPartition) -> PartitionLog? { partitions[key] }

  /// All of them, in the order of their keys.
  package var allPartitions: [PartitionLog] { partitions.all }

  /// Ends a topic: its partitions refuse from now on, its files go once that is durable. The topic's
  /// metadata must be gone already; a crash in between leaves an unknown topic for `reconcile`.
  package func deleteTopic(_ topic: TopicID) {
    deleted.withLock { _ = $0.insert(topic) }
    forget { $0 == topic }
    let bytes = PartitionLog.controlEntryBytes
    // A deletion is never refused for want of queue room: it makes room.
    shared.queue.charge(bytes)
    shared.queue.submit([PendingEntry(kind: .topicDeleted(topic), log: nil, end: 0, reservedBytes: bytes)])
  }

  /// At start, before anything is served: topics that the metadata store does not know are moved to
  /// `aside/`, never deleted (B15). Returns them.
  package func reconcile(topics: Set<TopicID>) throws(LogError) -> [TopicID] {
    let known = topics.union(deleted.withLock { $0 })
    forget { !known.contains($0) }
    return try onDisk { () throws(DiskError) in
      try SetAside(disk: shared.disk).moveUnknown(known: known)
    }
  }

  private func forget(where matches: (TopicID) -> Bool) {
    for log in partitions.remove(where: matches) {
      let (bytes, producers) = log.store.state.withLock { state in
        state.isDeleted = true
        let counts = (state.tail.removeAll(), state.producers.count)
        state.producers = ProducerTable()
        return counts
      }
      shared.tailBytes.subtract(bytes.all, ordering: .relaxed)
      shared.unwrittenBytes.subtract(bytes.unwritten, ordering: .relaxed)
      shared.producerCount.subtract(producers, ordering: .relaxed)
    }
  }

  /// An operator gives up what a corrupt partition has lost. The write-behind thread then cuts out the
  /// damage, keeps every intact batch, and the partition is served again, with gaps where records are
  /// missing. Survives a restart with the checkpoint that ends that round. False if it is not corrupt.
  package func acceptLoss(_ key: TopicPartition) -> Bool {
    guard let log = partitions[key], log.corruption != nil else { return false }
    backlog.accept(log.store)
    return true
  }
}
