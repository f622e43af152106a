/// How far a group is with its assignment.
public enum GroupState: String, Sendable, Hashable {
  /// No members; its offsets are kept.
  case empty
  /// Somebody has not got, or not given back, what the target assignment says. Everybody else goes on.
  case reconciling
  case stable
  /// A state that this version of the SDK does not know.
  case unknown
}

/// A consumer group in a listing.
public struct GroupSummary: Sendable, Hashable {
  public var name: String
  public var state: GroupState
  public var memberCount: Int
  /// The group's epoch: rises with every change.
  public var epoch: Int32
  /// Where its committed offsets are: `log`, `sqlite`, or one that the broker's configuration names.
  public var offsetStore: String
}

/// Some partitions of one topic.
public struct TopicPartitionList: Sendable, Hashable {
  public var topic: String
  public var partitions: [Int32]
  /// 32 hexadecimal digits; empty where it is not known.
  public var topicID: String

  public init(topic: String, partitions: [Int32], topicID: String = "") {
    self.topic = topic
    self.partitions = partitions
    self.topicID = topicID
  }
}

/// A member as the coordinator sees it.
public struct GroupMemberDescription: Sendable, Hashable {
  public var id: String
  /// Of a static member; empty: it is none.
  public var instanceID: String
  public var processID: String
  /// What it calls itself.
  public var client: String
  public var topics: [String]
  public var patterns: [String]
  /// For assignment by affinity.
  public var labels: [String: String]
  public var epoch: Int32
  /// What it has, without what it gives back.
  public var assigned: [TopicPartitionList]
  /// What it was told to give back, and still has.
  public var revoking: [TopicPartitionList]
  /// What it is to have in the end.
  public var target: [TopicPartitionList]
  /// Its stream is open; otherwise its partitions wait for it.
  public var isConnected: Bool
  /// Since it was last heard; nil: not since the coordinator began.
  public var silence: Duration?
  /// How long it may be at work without a word.
  public var processingLimit: Duration
}

/// One partition of a group.
public struct GroupPartitionDescription: Sendable {
  public var topic: String
  public var partition: Int32
  /// The offset of the record to process next; nil: nothing was committed.
  public var committed: Int64?
  public var highWatermark: Int64
  /// Records behind the commit.
  public var lag: Int64
  /// Since the first uncommitted record was appended, by the broker's clock then; zero: none is behind.
  public var lagTime: Duration
  /// Who has it; nil: nobody.
  public var memberID: String?
  /// What was committed with the offset.
  public var metadata: String
  /// Milliseconds since 1970; nil: nothing was committed.
  public var committedAt: Int64?
  public var leaderEpoch: Int32
  /// Why its lag is not known: the topic is gone, the partition is not served.
  public var error: SkeinError?
}

/// A group with its members, partitions and lag.
public struct GroupDescription: Sendable {
  public var group: GroupSummary
  /// The group's epoch for which its target assignment was computed.
  public var assignmentEpoch: Int32
  public var assignor: String
  /// Milliseconds since 1970; nil: it has members.
  public var emptySince: Int64?
  public var members: [GroupMemberDescription]
  /// Every partition that somebody has or that has a committed offset, in the order of topic and number.
  public var partitions: [GroupPartitionDescription]
}

/// A committed offset, or one to commit: of the record to process next.
public struct GroupOffset: Sendable, Hashable {
  public var topic: String
  public var partition: Int32
  public var offset: Int64
  /// Free text, kept with it.
  public var metadata: String
  /// Of the record before it; 0 = not known.
  public var leaderEpoch: Int32

  public init(
    topic: String, partition: Int32, offset: Int64, metadata: String = "", leaderEpoch: Int32 = 0
  ) {
    self.topic = topic
    self.partition = partition
    self.offset = offset
    self.metadata = metadata
    self.leaderEpoch = leaderEpoch
  }
}

/// What became of one offset that was to be committed.
public struct GroupCommitResult: Sendable {
  public var topic: String
  public var partition: Int32
  /// nil: it was committed.
  public var error: SkeinError?
}

/// Where a reset leads.
public enum OffsetPlace: Sendable, Hashable {
  /// The first record that can be read.
  case earliest
  /// The high watermark: only what comes.
  case latest
  case offset(Int64)
  /// The first record at or after this time (its own timestamp), milliseconds since 1970.
  case timestamp(Int64)
  /// From the committed offset, forward or (below zero) back; cut to what the log has.
  case shift(Int64)
}

/// What a reset did to a partition, or would do.
public struct OffsetChange: Sendable, Hashable {
  public var topic: String
  public var partition: Int32
  /// nil: nothing was committed.
  public var before: Int64?
  public var after: Int64
  /// Records to process after it.
  public var lag: Int64
}

/// A place for committed offsets that the broker has.
public struct OffsetStoreDescription: Sendable, Hashable {
  public var name: String
  /// `built in`, or a plug-in as `ID@VERSION`.
  public var plugin: String
  /// The tenant's new groups begin with it.
  public var isDefault: Bool
  /// Why it does not answer; nil: it does.
  public var problem: String?
}
