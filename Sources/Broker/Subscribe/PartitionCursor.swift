import CommitLog
import SkeinCore

/// Where a stream stands in one partition, and what it does there. Moved by its `PartitionPump` only.
///
/// `@unchecked Sendable`: touched on the stream's event loop only.
final class PartitionCursor: @unchecked Sendable {
  enum Activity {
    /// To be read, as soon as there is credit.
    case ready
    case reading
    /// At its end: the waiter fires when there is more.
    case waiting(ReadWaiter)
    /// Its owner wants nothing of it for now: until `release`.
    case held
    /// An error was told, or the stream gave it up: until `seek`.
    case ended
  }

  let topicName: String
  let key: TopicPartition
  /// The next record to be sent.
  var offset: Offset
  var lastEpoch: LeaderEpoch?
  var activity = Activity.held
  /// As the newest read saw it; nil before the first one.
  var highWatermark: Offset?
  /// Bytes of the batch at `offset`, once a read has shown that it is larger than a message should be.
  var needed = 0
  /// Stored bytes a record in the newest read; 0 = not known. Keeps reads small where few records may be sent.
  var bytesPerRecord = 0
  /// Raised by everything that makes a read under way meaningless.
  var turn: UInt32 = 0
  var isQueued = false

  init(topicName: String, key: TopicPartition, offset: Offset, lastEpoch: LeaderEpoch?) {
    self.topicName = topicName
    self.key = key
    self.offset = offset
    self.lastEpoch = lastEpoch
  }

  convenience init(_ position: ReadPosition) {
    self.init(
      topicName: position.topicName, key: position.key, offset: position.offset, lastEpoch: position.lastEpoch
    )
  }

  /// Everything that is there has been sent.
  var isAtEnd: Bool { if case .waiting = activity { true } else { false } }
  var isHeld: Bool { if case .held = activity { true } else { false } }
  var isEnded: Bool { if case .ended = activity { true } else { false } }
}

/// A run of batches of one partition, to be sent as one message.
struct PumpedBatches {
  let cursor: PartitionCursor
  var batches: [SharedBytes]
  /// Of the first batch.
  var base: Offset
  /// The first record that is meant: the first batch may hold older ones.
  var from: Offset
  /// Where the partition goes on.
  var next: Offset
  var highWatermark: Offset
  var logStart: Offset
  var leaderEpoch: LeaderEpoch
  /// What was charged on the stream so far, this run included.
  var totalMessages: UInt64
  var totalBytes: UInt64
  /// There is a record at every offset from `from` to `next`.
  var isDense: Bool
  /// Pays for the bytes until they are encrypted.
  var charge: MemoryBudget.Reservation
}
