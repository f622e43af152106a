package import SkeinCore

/// An append (or a move of the log start, or a topic's end) that is applied in memory and must now
/// be submitted, exactly once and in the order of its partition: `LogDirectory.submit`.
package struct PendingEntry: Sendable {
  enum Kind: Sendable {
    case batch(frame: SharedBytes, batch: SharedBytes)
    case logStart(Int64)
    case topicDeleted(TopicID)
  }

  let kind: Kind
  /// Nil for `topicDeleted`.
  let log: PartitionLog?
  /// The partition's log end after it.
  let end: Int64
  /// What it holds of the submit queue.
  let reservedBytes: Int

  /// The partition's log end once this is durable: its acknowledgement waits for
  /// `durableEnd >= endOffset`.
  package var endOffset: Offset { Offset(end) }
}

/// What a group commit made durable for one partition. Hand it to the partition's home executor and
/// there to `PartitionLog.apply`.
package struct DurableAdvance: Sendable {
  package let log: PartitionLog
  /// Everything below is durable.
  package internal(set) var end: Offset
  /// The new log start, if the group moved it.
  package internal(set) var logStart: Offset?
  /// When the sync began and when it returned, monotonic nanoseconds.
  package internal(set) var syncStarted: Int64
  package internal(set) var syncedAt: Int64
}
