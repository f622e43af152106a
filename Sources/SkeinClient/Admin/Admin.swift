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

  /// Creates a topic unless one of that name exists, whatever it is like.
  /// - Returns: whether it was created.
  /// - Throws: as `createTopic`, but TOPIC_EXISTS.
  @discardableResult
  public func createTopicIfMissing(
    _ name: String, partitions: Int32 = 0, partitioner: String = "", settings: [String: String] = [:]
  ) async throws(SkeinError) -> Bool {
    do throws(SkeinError) {
      try await createTopic(name, partitions: partitions, partitioner: partitioner, settings: settings)
      return true
    } catch {
      guard error.reason == Reason.topicExists.name else { throw error }
      return false
    }
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

  /// A topic with the state, size and traffic of its partitions, and every setting with its meaning. It asks every
  /// partition; `topicSummary` costs nothing.
  /// - Throws: TOPIC_NOT_FOUND.
  public func describeTopic(_ name: String) async throws(SkeinError) -> TopicDescription {
    let reply = try await client.unary(
      TopicsMethod.describe, DescribeTopicRequest(name: name), DescribeTopicResponse.self)
    return TopicDescription(
      topic: TopicSummary(reply.topic ?? Wire.TopicSummary()),
      partitions: reply.partitions.map(PartitionDescription.init),
      settings: reply.settings.map(SettingDescription.init),
      generations: reply.generations.map(PartitionerGeneration.init))
  }

  /// Partition count, partitioner and generation of a topic.
  /// - Throws: TOPIC_NOT_FOUND.
  public func topicSummary(_ name: String) async throws(SkeinError) -> TopicSummary {
    let reply = try await client.unary(
      TopicsMethod.describe, DescribeTopicRequest(name: name, summaryOnly: true),
      DescribeTopicResponse.self)
    return TopicSummary(reply.topic ?? Wire.TopicSummary())
  }

  /// Changes settings of a live topic; nothing is restarted. `SettingDescription.effect` says from when on each counts.
  /// - Parameters:
  ///   - set: settings and their new values, e.g. `["retention.ms": "3600000"]`.
  ///   - reset: settings that go back to the broker's default.
  ///   - expectedRevision: change only if the topic is at this revision; nil: whatever it is at.
  ///   - validateOnly: check everything, say what would change, and change nothing.
  /// - Throws: TOPIC_NOT_FOUND, INVALID_REQUEST (with every wrong setting), CONFLICT (another revision).
  @discardableResult
  public func updateTopic(
    _ name: String, set: [String: String] = [:], reset: [String] = [], expectedRevision: Int64? = nil,
    validateOnly: Bool = false
  ) async throws(SkeinError) -> TopicUpdate {
    let reply = try await client.unary(
      TopicsMethod.update,
      UpdateTopicRequest(
        name: name, set: set, reset: reset, expectedRevision: expectedRevision ?? 0,
        validateOnly: validateOnly), UpdateTopicResponse.self)
    return TopicUpdate(
      topic: TopicSummary(reply.topic ?? Wire.TopicSummary()),
      changed: reply.settings.map(SettingDescription.init))
  }

  /// Raises the number of partitions; there is no way down. Keys move: what a producer has not yet published is
  /// placed by the new count, in order; readers must read the new partitions too.
  /// - Parameter partitions: all together.
  /// - Throws: TOPIC_NOT_FOUND, INVALID_REQUEST (not above the present count), TOPIC_LIMIT, CONFLICT.
  @discardableResult
  public func addPartitions(
    _ name: String, upTo partitions: Int32, expectedRevision: Int64? = nil, validateOnly: Bool = false
  ) async throws(SkeinError) -> TopicSummary {
    let reply = try await client.unary(
      TopicsMethod.addPartitions,
      AddPartitionsRequest(
        name: name, partitions: partitions, expectedRevision: expectedRevision ?? 0,
        validateOnly: validateOnly), AddPartitionsResponse.self)
    return TopicSummary(reply.topic ?? Wire.TopicSummary())
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
}
