import SkeinCore
import Wire

/// Topics and the cluster. Every call is one unary RPC with the client's request timeout.
///
/// Errors: `SkeinError` with the catalogue's reason. A call whose answer was lost has
/// `outcome == .unknown`; read before you repeat it (R11).
public struct Admin: Sendable {
  let client: Client

  /// Creates a topic.
  /// - Parameters:
  ///   - partitions: 1 to 10,000; 0 is the broker's default.
  ///   - partitioner: `murmur2` (default when empty), `sticky` or `round-robin`.
  ///   - settings: e.g. `["retention.ms": "86400000"]`; see Docs/settings.md.
  /// - Returns: the topic's id.
  /// - Throws: TOPIC_EXISTS, INVALID_REQUEST (with every wrong field), TOPIC_LIMIT.
  @discardableResult
  public func createTopic(
    _ name: String, partitions: Int32 = 0, partitioner: String = "", settings: [String: String] = [:]
  ) async throws(SkeinError) -> String {
    try await client.unary(
      TopicsMethod.create,
      CreateTopicRequest(
        name: name, partitions: partitions, partitioner: partitioner, settings: settings),
      CreateTopicResponse.self
    ).topicID
  }

  /// All topics of the tenant in the order of their names.
  public func listTopics() async throws(SkeinError) -> [TopicSummary] {
    var topics: [TopicSummary] = []
    var token = ""
    repeat {
      let page = try await client.unary(
        TopicsMethod.list, ListTopicsRequest(pageToken: token), ListTopicsResponse.self)
      topics += page.topics.map(TopicSummary.init)
      token = page.nextPageToken
    } while !token.isEmpty
    return topics
  }

  /// - Throws: TOPIC_NOT_FOUND.
  public func describeTopic(_ name: String) async throws(SkeinError) -> TopicDescription {
    let reply = try await client.unary(
      TopicsMethod.describe, DescribeTopicRequest(name: name), DescribeTopicResponse.self)
    return TopicDescription(
      topic: TopicSummary(reply.topic ?? Wire.TopicSummary()),
      partitions: reply.partitions.map(PartitionDescription.init),
      settings: reply.settings.map(SettingDescription.init))
  }

  /// Deletes a topic and its records, for good.
  /// - Throws: TOPIC_NOT_FOUND.
  public func deleteTopic(_ name: String) async throws(SkeinError) {
    _ = try await client.unary(
      TopicsMethod.delete, DeleteTopicRequest(name: name), DeleteTopicResponse.self)
  }

  /// Finds offsets. Partitions that fail carry their own error.
  /// - Parameter partitions: empty is all.
  public func listOffsets(
    _ topic: String, partitions: [Int32] = [], at query: OffsetQuery
  ) async throws(SkeinError) -> [PartitionOffset] {
    var request = ListOffsetsRequest(topic: topic, partitions: partitions)
    switch query {
    case .beginning: request.spec = .earliest
    case .end: request.spec = .latest
    case .timestamp(let milliseconds):
      request.spec = .timestamp
      request.timestampMs = milliseconds
    }
    let reply = try await client.unary(TopicsMethod.listOffsets, request, ListOffsetsResponse.self)
    return reply.partitions.map(PartitionOffset.init)
  }

  /// Moves the start of partitions forward; what lies below can no longer be read. Not undoable.
  /// - Parameter before: the new start per partition; nil is the high watermark (everything).
  public func deleteRecords(
    _ topic: String, before: [Int32: Int64?]
  ) async throws(SkeinError) -> [PartitionOffset] {
    let partitions = before.sorted { $0.key < $1.key }.map {
      DeleteRecordsPartition(partition: $0.key, beforeOffset: $0.value ?? -1)
    }
    let reply = try await client.unary(
      TopicsMethod.deleteRecords, DeleteRecordsRequest(topic: topic, partitions: partitions),
      DeleteRecordsResponse.self)
    return reply.partitions.map(PartitionOffset.init)
  }

  /// The cluster, its limits, and who the caller is to it.
  public func describeCluster() async throws(SkeinError) -> ClusterDescription {
    let reply = try await client.unary(
      ClusterMethod.describe, DescribeClusterRequest(), DescribeClusterResponse.self)
    return ClusterDescription(
      clusterID: reply.clusterID,
      brokers: reply.brokers.map {
        BrokerDescription(id: $0.brokerID, address: $0.address, version: $0.version, started: $0.startedMs)
      },
      limits: reply.limits.map(BrokerLimits.init), tenant: reply.tenant, principal: reply.principal)
  }
}

extension TopicSummary {
  init(_ wire: Wire.TopicSummary) {
    self.init(
      name: wire.name, id: wire.topicID, partitionCount: wire.partitions,
      partitioner: wire.partitioner, generation: wire.generation)
  }
}

extension PartitionDescription {
  init(_ wire: Wire.PartitionDescription) {
    self.init(
      partition: wire.partition, logStart: wire.logStartOffset, highWatermark: wire.highWatermark,
      logEnd: wire.logEndOffset, leaderEpoch: wire.leaderEpoch, sizeBytes: wire.sizeBytes,
      error: wire.error.map { SkeinError(Fault($0)) })
  }
}

extension SettingDescription {
  init(_ wire: Wire.SettingDescription) {
    self.init(
      name: wire.name, value: wire.value, source: wire.source, defaultValue: wire.defaultValue,
      meaning: wire.meaning)
  }
}

extension PartitionOffset {
  init(_ wire: PartitionOffsetResult) {
    self.init(
      partition: wire.partition, offset: wire.offset,
      timestamp: wire.timestampMs < 0 ? nil : wire.timestampMs, leaderEpoch: wire.leaderEpoch,
      error: wire.error.map { SkeinError(Fault($0)) })
  }
}

extension BrokerLimits {
  init(_ wire: Limits) {
    self.init(
      maxMessageBytes: wire.maxMessageBytes, maxBatchBytes: wire.maxBatchBytes,
      maxRecordBytes: wire.maxRecordBytes, maxInFlightBatches: wire.maxInFlightBatches,
      maxStreams: wire.maxStreams, defaultFetchBytes: wire.defaultFetchBytes)
  }
}
