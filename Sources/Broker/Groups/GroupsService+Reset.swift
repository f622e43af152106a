import CommitLog
import GroupCoordination
import Logging
import SkeinCore
import Wire

/// Setting a group's positions (G16): all of them, or none.
extension GroupsService {
  @Sendable func resetOffsets(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try ResetOffsetsRequest(decoding: message)
    let key = try GroupsCheck.group(request.group, of: principal)
    try Self.check(request)
    let topic = try context.registry.topic(request.topic, of: principal.tenant)
    let known = try await fetchAll(key)
    let numbers = try numbers(of: request, topic)
    var targets: [OffsetCommit] = []
    var lags: [TopicPartition: Int64] = [:]
    for number in numbers {
      let partition = TopicPartition(topic: topic.id, partition: number)
      guard let log = context.workers.directory.partition(partition) else {
        throw TopicRegistry.notFound(topic.name)
      }
      do {
        let range = log.committedRange
        guard let offset = try await place(request, partition, range, known[partition]?.offset) else {
          continue
        }
        let epoch = try log.judge(offset, lastEpoch: nil)?.rawValue ?? -1
        lags[partition] = max(0, offset.distance(to: range.end))
        targets.append(OffsetCommit(partition: partition, offset: offset, leaderEpoch: epoch))
      } catch {
        throw Fault(wrapping: error).about(topic: topic.name, partition: number)
      }
    }
    let changes = try await context.groupOffsets.reset(key, targets, dryRun: request.dryRun)
    if !request.dryRun {
      context.audit(
        "offsets of a group reset", by: principal,
        [
          "group": key.name, "topic": topic.name,
          "offsets": changes.prefix(100).map { "\($0.partition.partition):\($0.after)" }.joined(
            separator: " "),
        ])
    }
    return ResetOffsetsResponse(
      changes: changes.map { change in
        OffsetChange(
          topic: topic.name, partition: change.partition.partition, before: change.before?.rawValue ?? -1,
          after: change.after.rawValue, lag: lags[change.partition] ?? 0)
      }
    ).encoded()
  }

  private static func check(_ request: ResetOffsetsRequest) throws(Fault) {
    var violations: [Fault.FieldViolation] = []
    let places = "exactly one of earliest, latest, offset, time_ms, shift"
    switch request.place {
    case nil: violations.append(.init(field: "place", description: "is missing: \(places)"))
    case .earliest(false): violations.append(.init(field: "earliest", description: "must be true: \(places)"))
    case .latest(false): violations.append(.init(field: "latest", description: "must be true: \(places)"))
    case .offset(let offset) where offset < 0 || offset >= Offset.limit.rawValue:
      violations.append(.init(field: "offset", description: "\(offset) is not an offset"))
    case .timeMs(let time) where time < 0:
      violations.append(
        .init(field: "time_ms", description: "\(time) is negative; milliseconds since 1970, at least 0"))
    default: break
    }
    if Set(request.partitions).count != request.partitions.count {
      violations.append(.init(field: "partitions", description: "one is named twice; name each once"))
    }
    if request.partitions.count > GroupLimits.offsetsPerRequest {
      violations.append(
        .init(field: "partitions", description: "at most \(GroupLimits.offsetsPerRequest) at once"))
    }
    guard violations.isEmpty else {
      throw Fault(
        .invalidRequest,
        "no offset was set: " + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        violations: violations)
    }
  }

  private func numbers(of request: ResetOffsetsRequest, _ topic: Topic) throws(Fault) -> [Int32] {
    guard !request.partitions.isEmpty else { return Array(0..<topic.partitions) }
    for number in request.partitions { try TopicRegistry.check(number, of: topic) }
    return request.partitions.sorted()
  }

  /// Where the partition is to stand; nil = as before, because there is nothing to shift.
  private func place(
    _ request: ResetOffsetsRequest, _ partition: TopicPartition, _ range: (start: Offset, end: Offset),
    _ committed: Offset?
  ) async throws -> Offset? {
    switch request.place {
    case .earliest: return range.start
    case .latest: return range.end
    case .offset(let offset): return Offset(offset)
    case .timeMs(let time): return try await context.find(timestamp: time, in: partition)?.offset ?? range.end
    case .shift(let shift):
      guard let committed else {
        if request.partitions.isEmpty { return nil }
        throw Fault(
          .noCommittedOffset,
          "the group has committed nothing of partition \(partition.partition), so there is nothing to shift; name another place"
        )
      }
      let (moved, overflow) = committed.rawValue.addingReportingOverflow(shift)
      let wanted = overflow ? (shift < 0 ? 0 : range.end.rawValue) : moved
      return min(max(Offset(wanted), range.start), range.end)
    case nil: return nil
    }
  }
}
