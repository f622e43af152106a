import CommitLog
import Logging
import SkeinCore
import Wire

/// Finding offsets and deleting records.
extension TopicsService {
  @Sendable func listOffsets(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
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

  @Sendable func deleteRecords(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DeleteRecordsRequest(decoding: message)
    let topic = try context.registry.topic(request.topic, of: principal.tenant)
    guard (1...Int(topic.partitions)).contains(request.partitions.count) else {
      throw Fault(
        .invalidRequest,
        "DeleteRecords names 1 to \(topic.partitions) partitions of this topic; this one names \(request.partitions.count)",
        violations: [.init(field: "partitions", description: "1 to \(topic.partitions)")])
    }
    try Self.checkStarts(request.partitions)
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
        let fault = Fault(wrapping: error).about(topic: topic.name, partition: wanted.partition)
        results.append(
          PartitionOffsetResult(
            partition: wanted.partition, offset: -1, timestampMs: -1, error: fault.status))
      }
    }
    context.audit(
      "records deleted", by: principal,
      [
        "topic": topic.name,
        "starts": results.prefix(100).map { "\($0.partition):\($0.offset)" }.joined(separator: " "),
      ])
    return DeleteRecordsResponse(partitions: results).encoded()
  }

  /// - Throws: `INVALID_REQUEST` with every entry that is named twice or asks for a negative start.
  private static func checkStarts(_ wanted: [DeleteRecordsPartition]) throws(Fault) {
    var violations: [Fault.FieldViolation] = []
    var seen: Set<Int32> = []
    for (index, entry) in wanted.enumerated() {
      if !seen.insert(entry.partition).inserted {
        violations.append(
          .init(
            field: "partitions[\(index)].partition",
            description: "partition \(entry.partition) is named twice; name each once"))
      }
      if entry.beforeOffset < -1 {
        violations.append(
          .init(
            field: "partitions[\(index)].before_offset",
            description: "\(entry.beforeOffset) is negative; -1 means the high watermark"))
      }
    }
    guard violations.isEmpty else {
      throw Fault(
        .invalidRequest,
        "no record was deleted: "
          + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        violations: violations)
    }
  }
}
