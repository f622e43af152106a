/// One partition of a topic, by name.
public struct ConsumedPartition: Sendable, Hashable, Comparable, CustomStringConvertible {
  public var topic: String
  public var partition: Int32

  public init(_ topic: String, _ partition: Int32) {
    self.topic = topic
    self.partition = partition
  }

  public var description: String { "\(topic)/\(partition)" }

  public static func < (left: ConsumedPartition, right: ConsumedPartition) -> Bool {
    (left.topic, left.partition) < (right.topic, right.partition)
  }
}

extension ConsumedRecord {
  /// Where it came from.
  public var source: ConsumedPartition { ConsumedPartition(topic, partition) }
}

extension RecordBatch {
  /// Where it came from.
  public var source: ConsumedPartition { ConsumedPartition(topic, partition) }
}

/// Where a partition begins of which the group has committed nothing.
public enum GroupStart: Sendable, Hashable {
  /// At the log's start: nothing is skipped.
  case earliest
  /// At the end of what is there when the partition is assigned. That is committed at once, so that it is decided once.
  case latest
  /// Nowhere: the sequence throws NO_COMMITTED_OFFSET, and the partition waits for a `seek`.
  case none
}

/// What happens when the group's position lies outside a partition's log (G18).
public enum OutOfRangePolicy: Sendable, Hashable {
  /// The sequence throws OFFSET_OUT_OF_RANGE (with the valid range), and the partition waits for a `seek`.
  case fail
  /// It goes on at the log's start, and counts in `skein_client_consumer_resets`.
  case earliest
  /// It goes on at the log's end, and counts so, too.
  case latest
}

/// How records are spread over concurrent handlers in `Consumer.run`.
public enum ConsumerOrdering: Sendable, Hashable {
  /// A partition's records are handled one after another; partitions side by side.
  case partition
  /// Records of one key (in one partition) are handled one after another, others side by side. Records without a key are
  /// in order within their partition.
  case key
}

/// How far a group is behind in one partition, as the broker sees it.
public struct ConsumerLag: Sendable, Hashable {
  /// nil: nothing is committed.
  public var committedOffset: Int64?
  public var highWatermark: Int64
  /// Records behind the commit.
  public var records: Int64
  /// Since the first uncommitted record was appended; zero: none is behind.
  public var time: Duration
}

/// What the application is told of its partitions. The calls come one at a time, from a task of the consumer's; they
/// may use the consumer (commit, seek), but must not close it.
public struct RebalanceHandlers: Sendable {
  /// These are the member's now; their records come when it has returned. `Consumer.seek` may say where they begin.
  public var assigned: (@Sendable ([ConsumedPartition]) async -> Void)?
  /// These are to be given back. Nothing more of them is delivered, what the application was at is finished; whatever
  /// it still has to do for them (flush, commit) it does here: they are given back when it has returned, with a last
  /// automatic commit before. The broker waits for `ConsumerConfiguration.processingDeadline`.
  public var revoked: (@Sendable ([ConsumedPartition]) async -> Void)?
  /// These are gone already, and may be somebody else's: the member was removed from its group, or could not reach it
  /// for the session time. Nothing can be committed.
  public var lost: (@Sendable ([ConsumedPartition]) async -> Void)?

  public init(
    assigned: (@Sendable ([ConsumedPartition]) async -> Void)? = nil,
    revoked: (@Sendable ([ConsumedPartition]) async -> Void)? = nil,
    lost: (@Sendable ([ConsumedPartition]) async -> Void)? = nil
  ) {
    self.assigned = assigned
    self.revoked = revoked
    self.lost = lost
  }
}
