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
    case "Create": context.admin.unary(call, principal, create)
    case "List": context.admin.unary(call, principal, list)
    case "Describe": context.admin.unary(call, principal, describe)
    case "Update": context.admin.unary(call, principal, update)
    case "AddPartitions": context.admin.unary(call, principal, addPartitions)
    case "Delete": context.admin.unary(call, principal, delete)
    case "ListOffsets": context.admin.unary(call, principal, listOffsets)
    case "DeleteRecords": context.admin.unary(call, principal, deleteRecords)
    default: nil
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
    let binding = TopicBinding(
      checking: PartitionerBinding(
        partitioner: request.partitioner.isEmpty ? "murmur2" : request.partitioner,
        config: request.partitionerConfig, weights: request.partitionerWeights,
        fallback: request.partitionerFallback), partitions: partitions, prefix: "partitioner_",
      violations: &violations)
    let settings = TopicSettings(explicit: request.settings, violations: &violations)
    guard violations.isEmpty else {
      throw Fault(
        .invalidRequest,
        "the topic cannot be created: "
          + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        violations: violations)
    }
    var first = TopicGeneration(1, binding, partitions: partitions, since: context.time.wallMilliseconds)
    let topic = try await context.registry.alone(request.name, of: principal.tenant) {
      var loaded: LoadedPartitioner?
      if binding.builtIn == nil {
        let made = try await context.partitioning.load(binding, usedBy: request.name)
        first.sha256 = made.sha256
        first.headers = made.headers
        first.needsTimestamps = made.needsTimestamps
        loaded = made
      }
      let topic = try await context.registry.create(
        request.name, tenant: principal.tenant, first: first, settings: settings, explicit: request.settings)
      if let loaded { context.partitioning.install(topic, .success(loaded)) }
      // Visible only once every partition is served.
      defer { context.registry.publish(topic) }
      try await open(topic, from: 0)
      return topic
    }
    context.logger.info(
      "topic created",
      metadata: [
        "topic": "\(topic.name)", "tenant": "\(principal.tenant.rawValue)",
        "principal": "\(principal.name)", "partitions": "\(partitions)",
      ])
    return CreateTopicResponse(topicID: topic.id.description).encoded()
  }

  /// Opens partitions of a topic whose record is committed. When the log refuses, they are served after
  /// a restart.
  func open(_ topic: Topic, from first: Int32) async throws {
    do {
      try await context.open(topic, from: first)
    } catch {
      context.logger.error(
        "partitions could not be opened",
        metadata: ["topic": "\(topic.name)", "from": "\(first)", "error": "\(error)"])
      throw error
    }
  }

  @Sendable private func delete(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DeleteTopicRequest(decoding: message)
    let topic = try await context.registry.alone(request.name, of: principal.tenant) {
      let topic = try await context.registry.delete(request.name, tenant: principal.tenant)
      try await context.close(topic)
      context.partitioning.forget(topic.id)
      try await context.registry.forget(topic.id)
      return topic
    }
    context.logger.info(
      "topic deleted",
      metadata: [
        "topic": "\(topic.name)", "tenant": "\(principal.tenant.rawValue)",
        "principal": "\(principal.name)",
      ])
    return DeleteTopicResponse().encoded()
  }
}
