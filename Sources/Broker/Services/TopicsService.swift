import CommitLog
import Logging
import NIOCore
import SkeinCore
import Transport
import Wire

/// `skein.v1.Topics`.
struct TopicsService: Sendable {
  static let maximumPageSize = 1_000

  let context: BrokerContext

  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "Create": unary(call, principal, create)
    case "List": unary(call, principal, list)
    case "Describe": unary(call, principal, describe)
    case "Delete": unary(call, principal, delete)
    case "ListOffsets": unary(call, principal, listOffsets)
    case "DeleteRecords": unary(call, principal, deleteRecords)
    default: nil
    }
  }

  private func unary(
    _ call: Call, _ principal: Principal,
    _ body: @escaping @Sendable (SharedBytes, Principal) async throws -> [UInt8]
  ) -> any CallHandler {
    let admin = context.admin
    return UnaryHandler(call) { message, reply in
      admin.answer(reply) { try await body(message, principal) }
    }
  }

  // MARK: Create and delete

  @Sendable private func create(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try CreateTopicRequest(decoding: message)
    var violations: [Fault.FieldViolation] = []
    if let problem = TopicName.problem(request.name) {
      violations.append(.init(field: "name", description: "\"\(request.name.displayable)\" \(problem)"))
    }
    let partitions = request.partitions == 0 ? 1 : request.partitions
    if !TopicName.partitionRange.contains(partitions) {
      violations.append(
        .init(
          field: "partitions",
          description:
            "\(request.partitions) is outside \(TopicName.partitionRange.lowerBound) to \(TopicName.partitionRange.upperBound)"
        ))
    }
    let partitioner = request.partitioner.isEmpty ? "murmur2" : request.partitioner
    let builtIn = BuiltInPartitioner(rawValue: partitioner)
    if builtIn == nil {
      let known = BuiltInPartitioner.allCases.map(\.rawValue).joined(separator: ", ")
      violations.append(
        .init(
          field: "partitioner",
          description: "\"\(partitioner.displayable)\" is not known; known: \(known)"))
    }
    let settings = TopicSettings(explicit: request.settings, violations: &violations)
    guard violations.isEmpty, let builtIn else {
      throw Fault(
        .invalidRequest,
        "the topic cannot be created: "
          + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        violations: violations)
    }
    let topic = try await context.registry.create(
      request.name, tenant: principal.tenant, partitions: partitions, partitioner: builtIn,
      settings: settings, explicit: request.settings)
    do {
      try await context.open(topic)
    } catch {
      // Committed but not served: the log refused its partitions. It is served after a restart.
      context.logger.error(
        "partitions of a new topic could not be opened",
        metadata: ["topic": "\(topic.name)", "error": "\(error)"])
      throw error
    }
    context.logger.info(
      "topic created",
      metadata: [
        "topic": "\(topic.name)", "tenant": "\(principal.tenant.rawValue)",
        "principal": "\(principal.name)", "partitions": "\(partitions)",
      ])
    return CreateTopicResponse(topicID: topic.id.description).encoded()
  }

  @Sendable private func delete(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DeleteTopicRequest(decoding: message)
    let topic = try await context.registry.delete(request.name, tenant: principal.tenant)
    try await context.close(topic)
    try await context.registry.forget(topic.id)
    context.logger.info(
      "topic deleted",
      metadata: [
        "topic": "\(topic.name)", "tenant": "\(principal.tenant.rawValue)",
        "principal": "\(principal.name)",
      ])
    return DeleteTopicResponse().encoded()
  }

  // MARK: Looking

  @Sendable private func list(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
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

  @Sendable private func describe(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DescribeTopicRequest(decoding: message)
    let topic = try context.registry.topic(request.name, of: principal.tenant)
    let states = try await context.partitionStates(of: topic, Array(0..<topic.partitions))
    let defaults = TopicSettings().rows.map(\.value)
    let settings = zip(topic.settings.rows, defaults).map { row, standard in
      SettingDescription(
        name: row.definition.name, value: row.value,
        source: topic.explicitSettings[row.definition.name] == nil ? "default" : "topic",
        defaultValue: standard, meaning: row.definition.meaning)
    }
    return DescribeTopicResponse(
      topic: TopicSummary(topic), partitions: states.map(PartitionDescription.init),
      settings: settings
    ).encoded()
  }

  // MARK: Offsets

  @Sendable private func listOffsets(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try ListOffsetsRequest(decoding: message)
    let topic = try context.registry.topic(request.topic, of: principal.tenant)
    let wanted = request.partitions.isEmpty ? Array(0..<topic.partitions) : request.partitions
    guard wanted.count <= Int(TopicName.partitionRange.upperBound) else {
      throw Fault(
        .invalidRequest, "\(wanted.count) partitions are named; at most 10000 are possible",
        violations: [.init(field: "partitions", description: "at most 10000")])
    }
    switch request.spec {
    case .earliest, .latest: break
    case .timestamp:
      guard request.timestampMs >= 0 else {
        throw Fault(
          .invalidRequest, "timestamp_ms \(request.timestampMs) is negative",
          violations: [.init(field: "timestamp_ms", description: "milliseconds since 1970, at least 0")])
      }
    default:
      throw Fault(
        .invalidRequest, "spec must be EARLIEST (1), LATEST (2) or TIMESTAMP (3)",
        violations: [.init(field: "spec", description: "unknown value \(request.spec.rawValue)")])
    }
    let valid = wanted.filter { $0 >= 0 && $0 < topic.partitions }
    let states = try await context.partitionStates(of: topic, valid)
    let byNumber = Dictionary(states.map { ($0.partition, $0) }) { first, _ in first }
    var results: [PartitionOffsetResult] = []
    for partition in wanted {
      do {
        try TopicRegistry.check(partition, of: topic)
        guard let state = byNumber[partition] else { throw TopicRegistry.notFound(topic.name) }
        results.append(try await offset(for: request, topic, state))
      } catch {
        results.append(
          PartitionOffsetResult(
            partition: partition, offset: -1, timestampMs: -1,
            error: Fault(wrapping: error).status))
      }
    }
    return ListOffsetsResponse(partitions: results).encoded()
  }

  private func offset(
    for request: ListOffsetsRequest, _ topic: Topic, _ state: PartitionFacts
  ) async throws -> PartitionOffsetResult {
    if let fault = state.fault { throw fault }
    var result = PartitionOffsetResult(
      partition: state.partition, timestampMs: -1, leaderEpoch: state.leaderEpoch.rawValue)
    switch request.spec {
    case .earliest: result.offset = state.logStart.rawValue
    case .latest: result.offset = state.highWatermark.rawValue
    default:
      let key = TopicPartition(topic: topic.id, partition: state.partition)
      let found = try await context.find(timestamp: request.timestampMs, in: key)
      result.offset = found?.offset.rawValue ?? state.highWatermark.rawValue
      result.timestampMs = found?.timestamp ?? -1
    }
    return result
  }

  @Sendable private func deleteRecords(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8]
  {
    let request = try DeleteRecordsRequest(decoding: message)
    let topic = try context.registry.topic(request.topic, of: principal.tenant)
    guard (1...Int(topic.partitions)).contains(request.partitions.count) else {
      throw Fault(
        .invalidRequest,
        "DeleteRecords names 1 to \(topic.partitions) partitions of this topic; this one names \(request.partitions.count)",
        violations: [.init(field: "partitions", description: "1 to \(topic.partitions)")])
    }
    var results: [PartitionOffsetResult] = []
    for wanted in request.partitions {
      do {
        try TopicRegistry.check(wanted.partition, of: topic)
        let start = try await context.deleteRecords(
          in: TopicPartition(topic: topic.id, partition: wanted.partition),
          before: wanted.beforeOffset)
        results.append(
          PartitionOffsetResult(partition: wanted.partition, offset: start.rawValue, timestampMs: -1))
      } catch {
        results.append(
          PartitionOffsetResult(
            partition: wanted.partition, offset: -1, timestampMs: -1,
            error: Fault(wrapping: error).status))
      }
    }
    return DeleteRecordsResponse(partitions: results).encoded()
  }
}

extension TopicSummary {
  init(_ topic: Topic) {
    self.init(
      name: topic.name, topicID: topic.id.description, partitions: topic.partitions,
      partitioner: topic.partitioner.rawValue, generation: topic.generation)
  }
}

extension PartitionDescription {
  init(_ state: PartitionFacts) {
    self.init(
      partition: state.partition, logStartOffset: state.logStart.rawValue,
      highWatermark: state.highWatermark.rawValue, logEndOffset: state.logEnd.rawValue,
      leaderEpoch: state.leaderEpoch.rawValue, sizeBytes: state.sizeBytes,
      error: state.fault?.status)
  }
}
