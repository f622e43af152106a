/// Where one group stands in one partition.
public struct StoredOffset: Sendable, Hashable {
  /// 32 hexadecimal digits.
  public var topicID: String
  public var partition: Int32
  /// The next record to process.
  public var offset: Int64
  public var leaderEpoch: Int32
  public var metadata: String
  /// Milliseconds since 1970-01-01 UTC.
  public var committedMilliseconds: Int64
  /// The member epoch that committed it. A store refuses an older one.
  public var memberEpoch: Int32

  public init(
    topicID: String, partition: Int32, offset: Int64, leaderEpoch: Int32 = 0, metadata: String = "",
    committedMilliseconds: Int64 = 0, memberEpoch: Int32 = 0
  ) {
    self.topicID = topicID
    self.partition = partition
    self.offset = offset
    self.leaderEpoch = leaderEpoch
    self.metadata = metadata
    self.committedMilliseconds = committedMilliseconds
    self.memberEpoch = memberEpoch
  }
}

/// One partition of one topic.
public struct TopicPartition: Sendable, Hashable {
  /// 32 hexadecimal digits.
  public var topicID: String
  public var partition: Int32

  public init(topicID: String, partition: Int32) {
    self.topicID = topicID
    self.partition = partition
  }
}

/// Commit all of it or nothing.
public struct CommitOffsets: Sendable, Hashable {
  public var tenant: String
  public var group: String
  public var memberEpoch: Int32
  public var offsets: [StoredOffset]

  public init(tenant: String, group: String, memberEpoch: Int32, offsets: [StoredOffset]) {
    self.tenant = tenant
    self.group = group
    self.memberEpoch = memberEpoch
    self.offsets = offsets
  }
}

/// The offsets of one group.
public struct FetchOffsets: Sendable, Hashable {
  public var tenant: String
  public var group: String
  /// At most 200. Empty: all of the group's, in pages.
  public var partitions: [TopicPartition]
  /// From the page before; empty: from the beginning. Only without `partitions`.
  public var token: String
  /// Offsets in one page: 1 to 1,000; 0: no limit. Only without `partitions`.
  public var limit: UInt32

  public init(
    tenant: String, group: String, partitions: [TopicPartition] = [], token: String = "", limit: UInt32 = 0
  ) {
    self.tenant = tenant
    self.group = group
    self.partitions = partitions
    self.token = token
    self.limit = limit
  }
}

/// Groups and their offsets in the order of their names, a page at a time.
public struct ScanOffsets: Sendable, Hashable {
  public var tenant: String
  /// From the page before; empty: from the beginning.
  public var token: String
  /// Offsets in one page: 1 to 1,000.
  public var limit: UInt32

  public init(tenant: String, token: String = "", limit: UInt32) {
    self.tenant = tenant
    self.token = token
    self.limit = limit
  }
}

/// Forget a group's offsets.
public struct RemoveOffsets: Sendable, Hashable {
  public var tenant: String
  public var group: String
  /// Empty: all of the group's.
  public var partitions: [TopicPartition]

  public init(tenant: String, group: String, partitions: [TopicPartition] = []) {
    self.tenant = tenant
    self.group = group
    self.partitions = partitions
  }
}

/// The offsets of one group, in an answer.
public struct GroupOffsets: Sendable, Hashable {
  public var group: String
  public var offsets: [StoredOffset]

  public init(group: String, offsets: [StoredOffset]) {
    self.group = group
    self.offsets = offsets
  }
}

/// The answer to fetch and scan.
public struct OffsetPage: Sendable, Hashable {
  public var groups: [GroupOffsets]
  /// Empty: that was the last page.
  public var token: String

  public init(groups: [GroupOffsets], token: String = "") {
    self.groups = groups
    self.token = token
  }
}
