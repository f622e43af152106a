import CommitLog
import GroupCoordination
import SkeinCore
import Wire

/// What the edge checks before a coordinator is asked: names of groups and topics, patterns, and offsets against the log
/// (G18). Threading: any thread, without waiting.
struct GroupsCheck: Sendable {
  let context: BrokerContext

  // MARK: Names

  /// - Throws: `INVALID_REQUEST` for what no group may be called.
  static func group(_ name: String, of principal: Principal) throws(Fault) -> GroupKey {
    if let problem = TopicName.problem(name) {
      throw Fault(
        .invalidRequest, "the group's name \"\(name.displayable)\" \(problem)",
        violations: [.init(field: "group", description: "\"\(name.displayable)\" \(problem)")])
    }
    return GroupKey(tenant: principal.tenant.rawValue, name: name)
  }

  /// - Throws: `PATTERN_INVALID`: it cannot be compiled, or needs too much work.
  static func pattern(_ text: String) throws(Fault) { try TopicPattern(text).probe() }

  /// A partition of the caller's own tenant.
  func partition(
    _ topic: String, _ partition: Int32, of principal: Principal
  ) throws(Fault) -> TopicPartition {
    let found = try context.registry.topic(topic, of: principal.tenant)
    try TopicRegistry.check(partition, of: found)
    return TopicPartition(topic: found.id, partition: partition)
  }

  // MARK: Offsets

  /// For each offset, in order, what to commit, or why not: `TOPIC_NOT_FOUND`, `PARTITION_NOT_FOUND`,
  /// `OFFSET_OUT_OF_RANGE` with the valid range, `LOG_TRUNCATED`.
  func checked(_ offsets: [PartitionOffset], _ principal: Principal) -> [Result<OffsetCommit, Fault>] {
    var last: Topic?
    return offsets.map { offset in
      do throws(Fault) {
        let topic: Topic
        if let known = last, known.name == offset.topic {
          topic = known
        } else {
          topic = try context.registry.topic(offset.topic, of: principal.tenant)
          last = topic
        }
        return .success(try checked(offset, topic))
      } catch {
        return .failure(error)
      }
    }
  }

  private func checked(_ offset: PartitionOffset, _ topic: Topic) throws(Fault) -> OffsetCommit {
    try TopicRegistry.check(offset.partition, of: topic)
    let key = TopicPartition(topic: topic.id, partition: offset.partition)
    let epoch = try judge(Offset(offset.offset), offset.leaderEpoch, key, topic)
    return OffsetCommit(
      partition: key, offset: Offset(offset.offset), leaderEpoch: epoch, metadata: offset.metadata)
  }

  /// The leader epoch of the record before it, -1 = there is none.
  private func judge(
    _ offset: Offset, _ lastEpoch: Int32, _ key: TopicPartition, _ topic: Topic
  ) throws(Fault) -> Int32 {
    guard let log = context.workers.directory.partition(key) else { throw PartitionShard.gone(key) }
    do throws(Fault) {
      return try log.judge(offset, lastEpoch: lastEpoch > 0 ? LeaderEpoch(lastEpoch) : nil)?.rawValue ?? -1
    } catch {
      throw error.about(topic: topic.name, partition: key.partition)
    }
  }
}
