package import SkeinCore
internal import Synchronization

/// How a directory is, for operators. Sizes in bytes.
package struct DirectoryCondition: Sendable {
  package var state: LogDirectory.State
  /// Of the file system; nil when it cannot be asked.
  package var space: DiskSpace?
  package var reserveBytes: Int64 = 0
  package var journalBytes: Int64 = 0
  /// Not reusable until segments are written and synced.
  package var journalUsedBytes: Int64 = 0
  package var queuedBytes = 0
  package var queuedLimit = 1
  package var unwrittenBytes = 0
  package var unwrittenLimit = 1
  package var tailBytes = 0
  package var tailLimit = 1
  /// The wall clock has jumped: retention waits until it believes the new time (R60).
  package var isRetentionPaused = false

  package init(state: LogDirectory.State) { self.state = state }
}

extension LogDirectory {
  /// Asks the file system for its free space, so: an I/O thread.
  package func condition() -> DirectoryCondition {
    let limits = shared.configuration
    var condition = DirectoryCondition(state: state)
    condition.space = try? shared.disk.space()
    condition.reserveBytes = limits.reserveBytes
    condition.journalBytes = flusher.journal.capacity
    condition.journalUsedBytes = flusher.journal.capacity - flusher.journal.freeBytes
    condition.queuedBytes = shared.queue.bytes
    condition.queuedLimit = limits.maxQueuedBytes
    condition.unwrittenBytes = unwrittenBytes
    condition.unwrittenLimit = limits.maxUnwrittenBytes
    condition.tailBytes = tailBytes
    condition.tailLimit = limits.tailBudgetBytes
    condition.isRetentionPaused = shared.retentionPaused.load(ordering: .relaxed)
    return condition
  }

  /// Partitions that are not served because of damage (R52), in the order of their keys. Any thread.
  package var corruptPartitions: [(key: TopicPartition, why: String)] {
    partitions.all.compactMap { log in log.corruption.map { (log.key, $0) } }
  }
}
