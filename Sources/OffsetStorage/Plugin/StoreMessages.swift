import GroupCoordination
import SkeinCore
import Wire

/// Requests of offset store plug-ins and what may be believed of their answers.
enum StoreMessages {
  /// Offsets in one page: with 4 KiB of metadata each they are below the 1 MiB that an answer may have.
  static let pageOffsets = 200
  /// Bytes of a page's token. Longer is no token.
  static let tokenBytes = 1_024

  static func commit(_ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]) -> [UInt8] {
    PluginCommitOffsets(
      tenant: group.tenant, group: group.name, memberEpoch: memberEpoch,
      offsets: offsets.map {
        PluginStoredOffset(
          topicID: $0.partition.topic.description, partition: $0.partition.partition,
          offset: $0.committed.offset.rawValue, leaderEpoch: $0.committed.leaderEpoch,
          metadata: $0.committed.metadata, committedMs: $0.committed.committedAt, memberEpoch: memberEpoch)
      }
    ).encoded()
  }

  static func fetch(_ group: GroupKey, _ partitions: ArraySlice<TopicPartition>) -> [UInt8] {
    PluginFetchOffsets(tenant: group.tenant, group: group.name, partitions: partitions.map(named)).encoded()
  }

  static func fetch(_ group: GroupKey, after token: String) -> [UInt8] {
    PluginFetchOffsets(
      tenant: group.tenant, group: group.name, token: token, limit: UInt32(pageOffsets)
    ).encoded()
  }

  static func scan(tenant: String, after token: String, limit: Int) -> [UInt8] {
    PluginScanOffsets(tenant: tenant, token: token, limit: UInt32(clamping: limit)).encoded()
  }

  static func remove(_ group: GroupKey, _ partitions: ArraySlice<TopicPartition>) -> [UInt8] {
    PluginRemoveOffsets(tenant: group.tenant, group: group.name, partitions: partitions.map(named)).encoded()
  }

  private static func named(_ partition: TopicPartition) -> PluginTopicPartitionName {
    PluginTopicPartitionName(topicID: partition.topic.description, partition: partition.partition)
  }

  // MARK: Answers

  /// What is wrong with an answer, for people.
  struct Wrong: Error {
    var what: String
    init(_ what: String) { self.what = what }
  }

  /// A page of any request: decoded strictly, and every value within its range.
  static func page(_ bytes: [UInt8]) throws(Wrong) -> StoredOffsetPage {
    let decoded: PluginOffsetPage
    do {
      decoded = try PluginOffsetPage(decoding: SharedBytes(bytes))
    } catch {
      throw Wrong("it is no OffsetPage: \(error.message)")
    }
    guard decoded.token.utf8.count <= tokenBytes else {
      throw Wrong("its token has \(decoded.token.utf8.count) bytes, \(tokenBytes) are allowed")
    }
    var page = StoredOffsetPage(groups: [], token: decoded.token)
    for group in decoded.groups {
      guard !group.group.isEmpty, group.group.utf8.count <= GroupLimits.nameBytes else {
        throw Wrong("a group's name has \(group.group.utf8.count) bytes")
      }
      var offsets: [StoredOffset] = []
      for offset in group.offsets { offsets.append(try self.offset(offset)) }
      page.groups.append(.init(name: group.group, offsets: offsets))
    }
    return page
  }

  private static func offset(_ offset: PluginStoredOffset) throws(Wrong) -> StoredOffset {
    guard let topic = TopicID(offset.topicID) else {
      throw Wrong("`\(String(offset.topicID.prefix(64)).displayable)` is no topic id")
    }
    guard offset.partition >= 0 else { throw Wrong("the partition \(offset.partition) is not one") }
    guard offset.offset >= 0, Offset(offset.offset) < .limit else {
      throw Wrong("the offset \(offset.offset) is not one")
    }
    guard offset.memberEpoch >= 0 else { throw Wrong("the member epoch \(offset.memberEpoch) is not one") }
    guard offset.metadata.utf8.count <= GroupLimits.metadataBytes else {
      throw Wrong("metadata has \(offset.metadata.utf8.count) bytes")
    }
    return StoredOffset(
      partition: TopicPartition(topic: topic, partition: offset.partition),
      committed: CommittedOffset(
        offset: Offset(offset.offset), leaderEpoch: max(offset.leaderEpoch, -1), metadata: offset.metadata,
        committedAt: offset.committedMs),
      memberEpoch: offset.memberEpoch)
  }
}
