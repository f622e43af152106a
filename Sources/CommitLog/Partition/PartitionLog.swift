package import SkeinCore
internal import Synchronization

/// One partition's log, as its home executor sees it: append, read, delete-records. It does no I/O:
/// `append` returns an entry for the flusher, `read` returns batches from memory or a plan that an
/// I/O thread executes.
///
/// **Threading.** Confined to the partition's home executor, except where a member says "any
/// thread"; what flusher, write-behind and readers share lies in `PartitionStore` behind its mutex.
/// `@unchecked Sendable`: references travel in `PendingEntry` and `DurableAdvance`, but the stored
/// variables below are touched on the home executor only.
///
/// Invariant: `logStart <= highWatermark`, `durableEnd <= logEnd`, and `highWatermark` is the
/// durable end for `fsync` topics, the log end for `memory` topics (R43).
package final class PartitionLog: @unchecked Sendable {
  package let key: TopicPartition
  /// The epoch of what is appended now (R22).
  package let leaderEpoch: LeaderEpoch
  let store: PartitionStore
  let shared: DirectoryShared

  /// First readable offset.
  package private(set) var logStart: Offset
  /// Exclusive end of what readers may see.
  package private(set) var highWatermark: Offset
  /// First offset that is not durable (DEO).
  package private(set) var durableEnd: Offset
  /// Next offset (LEO).
  package internal(set) var logEnd: Offset
  package private(set) var settings = PartitionSettings()

  init(store: PartitionStore, shared: DirectoryShared, epoch: LeaderEpoch) {
    self.key = store.key
    self.store = store
    self.shared = shared
    self.leaderEpoch = epoch
    // What recovery found is durable and in segments (R53).
    let (start, end) = store.state.withLock { (Offset($0.logStart), Offset($0.durableEnd)) }
    self.logStart = start
    self.highWatermark = end
    self.durableEnd = end
    self.logEnd = end
  }

  /// Applies new settings; from the next append or maintenance step on.
  package func setSettings(_ settings: PartitionSettings) {
    self.settings = settings
    store.state.withLock { $0.settings = settings }
    updateHighWatermark()
  }

  /// Takes in what a flush made durable. Advances of one partition arrive in order; a repeated or
  /// older one changes nothing.
  package func apply(_ advance: DurableAdvance) {
    advanceDurable(to: advance.end)
    if let start = advance.logStart { logStart = max(logStart, start) }
  }

  /// Everything below `end` is durable.
  package func advanceDurable(to end: Offset) {
    durableEnd = max(durableEnd, min(end, logEnd))
    updateHighWatermark()
  }

  /// Bytes in segments and in the tail that is not written behind yet, frames included.
  /// Any thread.
  package var sizeInBytes: Int64 {
    store.state.withLock { state in
      state.segments.reduce(0) { $0 + $1.size } + Int64(state.tail.unwrittenBytes)
    }
  }

  /// What an operator wants to know of a partition, taken at one moment. Any thread.
  package struct Summary: Sendable, Equatable {
    /// In segments and in the tail that is not written behind yet, frames included.
    package var sizeInBytes: Int64 = 0
    package var segments = 0
    /// The broker's clock at the newest append, in milliseconds; 0 before the first.
    package var lastAppendTime: Int64 = 0
    package var producers = 0
    /// Why it is not served (R52).
    package var corruption: String?
  }

  /// Any thread.
  package var summary: Summary {
    store.state.withLock { state in
      Summary(
        sizeInBytes: state.segments.reduce(0) { $0 + $1.size } + Int64(state.tail.unwrittenBytes),
        segments: state.segments.count, lastAppendTime: state.lastAppendTime,
        producers: state.producers.count, corruption: state.corruption)
    }
  }

  /// The segment table in words, for traces and tests. Any thread.
  package var segmentTable: String {
    store.state.withLock { state in
      state.segments.map { "\($0.base) ..< \($0.end) (\($0.size) bytes\($0.isSealed ? ", sealed" : ""))" }
        .joined(separator: ", ")
    }
  }

  /// Why the partition is not served, nil in health (R52). Any thread.
  package var corruption: String? { store.state.withLock { $0.corruption } }

  /// The (epoch, first offset) pairs of the partition's history. Any thread.
  package var epochs: [EpochCache.Entry] { store.state.withLock { $0.epochs.entries } }

  /// Idempotent producers remembered here. Any thread.
  package var producerCount: Int { store.state.withLock { $0.producers.count } }

  /// Called after an append; `fsync` topics wait for `advanceDurable`.
  func updateHighWatermark() {
    let end = settings.durability == .memory ? logEnd : durableEnd
    highWatermark = max(highWatermark, end)
  }
}
