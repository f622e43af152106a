import CommitLog
import SkeinCore
import Wire

/// Listing and describing.
extension TopicsService {
  @Sendable func list(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try ListTopicsRequest(decoding: message)
    guard (0...Int32(Self.maximumPageSize)).contains(request.pageSize) else {
      throw Fault(
        .invalidRequest, "page_size \(request.pageSize) is outside 0 to \(Self.maximumPageSize)",
        violations: [.init(field: "page_size", description: "0 to \(Self.maximumPageSize)")])
    }
    let size = request.pageSize == 0 ? Self.maximumPageSize : Int(request.pageSize)
    let topics = context.registry.page(
      of: principal.tenant, after: request.pageToken, limit: size + 1)
    let page = topics.prefix(size)
    return ListTopicsResponse(
      topics: page.map(TopicSummary.init),
      nextPageToken: topics.count > size ? page.last?.name ?? "" : ""
    ).encoded()
  }

  @Sendable func describe(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DescribeTopicRequest(decoding: message)
    let topic = try context.registry.topic(request.name, of: principal.tenant)
    if request.summaryOnly { return DescribeTopicResponse(topic: TopicSummary(topic)).encoded() }
    let states = try await context.partitionStates(of: topic, Array(0..<topic.partitions))
    return DescribeTopicResponse(
      topic: TopicSummary(topic), partitions: states.map(PartitionDescription.init),
      settings: SettingDescription.all(of: topic), generations: topic.generations.map(\.description)
    ).encoded()
  }
}

extension SettingDescription {
  /// Every setting of a topic, in the order of the catalogue.
  static func all(of topic: Topic) -> [SettingDescription] {
    zip(topic.settings.rows, TopicSettings().rows).map { row, standard in
      SettingDescription(
        name: row.definition.name, value: row.value,
        source: topic.explicitSettings[row.definition.name] == nil ? "default" : "topic",
        defaultValue: standard.value, meaning: row.definition.meaning, allowed: row.definition.allowed,
        effect: row.definition.effect)
    }
  }
}

extension TopicSummary {
  init(_ topic: Topic) {
    self.init(
      name: topic.name, topicID: topic.id.description, partitions: topic.partitions,
      partitioner: topic.current.binding.partitioner, generation: topic.generation,
      revision: topic.revision, createdMs: topic.createdMilliseconds,
      compression: topic.settings.compressionType.rawValue, brokerAssigns: topic.builtIn == nil,
      partitionerHeaders: topic.current.headers, partitionerTimestamps: topic.current.needsTimestamps)
  }
}

extension PartitionDescription {
  init(_ facts: PartitionFacts) {
    self.init(
      partition: facts.partition, logStartOffset: facts.logStart.rawValue,
      highWatermark: facts.highWatermark.rawValue, logEndOffset: facts.logEnd.rawValue,
      leaderEpoch: facts.leaderEpoch.rawValue, sizeBytes: facts.summary.sizeInBytes,
      error: facts.fault?.status, state: facts.fault == nil ? .online : .offline,
      segments: Int32(clamping: facts.summary.segments), traffic: Traffic(facts.traffic),
      durableEndOffset: facts.durableEnd.rawValue, lastAppendMs: facts.summary.lastAppendTime,
      producers: Int32(clamping: facts.summary.producers))
  }
}

extension Traffic {
  init(_ totals: TrafficMeter.Totals) {
    self.init(
      windowMs: totals.windowMilliseconds, recordsIn: totals.recordsIn, bytesIn: totals.bytesIn,
      recordsOut: totals.recordsOut, bytesOut: totals.bytesOut)
  }
}
