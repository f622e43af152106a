internal import SkeinCore
internal import Synchronization

/// What a partition's home executor, the flusher, the write-behind thread and readers share, behind
/// one small mutex. It is held for memory operations only, never across I/O.
final class PartitionStore: Sendable {
  struct State: Sendable {
    var tail = TailCache()
    /// First offset that is not durable yet: the journal's sync has returned below it.
    var durableEnd: Int64 = 0
    /// First offset that is not in a segment yet.
    var writtenEnd: Int64 = 0
    /// First readable offset; durable in the journal (R34).
    var logStart: Int64 = 0
    /// Ascending; at most the last one is active. Changed by the write-behind thread only.
    var segments: [Segment] = []
    /// The cleaner has passed everything below: one record of each key is left there, or more where
    /// later ones came since. Changed by the write-behind thread only.
    var cleanedEnd: Int64 = 0
    var epochs = EpochCache()
    /// As of the log end; the write-behind thread has its own as of `writtenEnd`.
    var producers = ProducerTable()
    /// Broker's clock of the newest batch, in milliseconds.
    var lastAppendTime: Int64 = 0
    var settings: PartitionSettings?
    /// In the list of partitions that wait for the write-behind thread.
    var isDirty = false
    var isDeleted = false
    /// Why the partition is not served (R52); nil in health.
    var corruption: String?
  }

  let key: TopicPartition
  let state: Mutex<State>

  /// Touched by the flusher only: the last group that the partition took part in, and its place
  /// in that group's list of advances.
  nonisolated(unsafe) var flushGroup: UInt64 = 0
  nonisolated(unsafe) var flushIndex = 0

  /// Touched by the write-behind thread only (and by recovery before that thread exists).
  nonisolated(unsafe) var image: PartitionImage

  init(key: TopicPartition, state: State = State(), image: PartitionImage = PartitionImage()) {
    self.key = key
    self.state = Mutex(state)
    self.image = image
  }
}

extension PartitionStore {
  /// Takes the partition offline until an operator accepts the loss (R52); the first reason stays.
  func condemn(_ why: String) { state.withLock { $0.condemn(why) } }

  /// Takes it offline for damage found in a segment, unless retention or the cleaner were there first: they take a
  /// segment out of the table before its file is touched.
  /// - Returns: which partition, and why; nil: the segment is of the log no more.
  func condemn(_ segment: Segment, _ why: String) -> (key: TopicPartition, why: String)? {
    let text = "segment \(segment.base): \(why)"
    let isOurs = state.withLock { state -> Bool in
      guard !state.isDeleted, state.segments.contains(where: { $0.isSameFile(as: segment) }) else {
        return false
      }
      state.condemn(text)
      return true
    }
    return isOurs ? (key, text) : nil
  }
}

extension PartitionStore.State {
  /// As `PartitionStore.condemn`, within the lock.
  mutating func condemn(_ why: String) {
    if corruption == nil { corruption = why }
  }
}

/// The partition as its segments say, kept by the write-behind thread: what a checkpoint stores.
struct PartitionImage {
  /// As of the partition's `writtenEnd`.
  var producers = ProducerTable()
  /// Applied from durable journal entries; segments below it may go at the next checkpoint.
  var logStart: Int64 = 0
  /// The active segment's file while it is being written; pinned until it is synced.
  var writer: SegmentWriter?
  /// The partition's folder exists.
  var hasFolder = false
  /// Files of an interrupted life were looked for.
  var isSwept = false
  /// The last log start that retention submitted.
  var retentionTarget: Int64 = 0
}
