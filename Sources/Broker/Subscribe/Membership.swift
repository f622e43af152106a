import GroupCoordination
import NIOCore
import SkeinCore
import Wire

/// What a join says, checked: counts before anything is made of them, and what only the edge knows. The rest is the
/// coordinator's to check.
struct Membership {
  let key: GroupKey
  let id: String
  let reset: OffsetReset
  let decoded: Bool
  /// Between two commits of acknowledged records; nil = as soon as the one before is done.
  let ackPause: TimeAmount?
  let processingMilliseconds: Int64
  let messageBytes: UInt32
  /// A membership that goes on.
  let resume: (epoch: Int32, positions: [TopicPartition: Offset?])?
  let request: JoinRequest

  /// Milliseconds between two commits of acknowledged records, at most.
  static let longestAckPause: UInt32 = 3_600_000

  /// - Throws: `INVALID_REQUEST`, `PATTERN_INVALID`, `GROUP_LIMIT`.
  init(_ join: SubscribeJoin, principal: Principal, context: BrokerContext) throws(Fault) {
    let groups = context.groups
    key = try GroupsCheck.group(join.group, of: principal)
    try Self.check(join, limits: groups.limits)
    let subscription = try Self.subscription(join.topics, join.patterns, groups.limits, key)
    id = join.memberID.isEmpty ? Self.newID(context.random) : join.memberID
    reset = join.reset == .unspecified ? .earliest : join.reset
    decoded = join.decoded
    ackPause = join.ackCommitMs == 0 ? nil : .milliseconds(Int64(join.ackCommitMs))
    processingMilliseconds = join.processingMs == 0 ? groups.times.processing : join.processingMs
    messageBytes = join.maxMessageBytes
    var request = JoinRequest(
      group: key, memberID: id, instanceID: join.instanceID.isEmpty ? nil : join.instanceID,
      processID: join.processID.isEmpty ? id : join.processID,
      client: join.clientID.isEmpty ? principal.name : "\(principal.name) \(join.clientID.displayable)",
      subscription: subscription)
    request.labels = join.labels
    request.assignor = join.assignor.isEmpty ? nil : join.assignor
    request.processing = join.processingMs == 0 ? nil : join.processingMs
    self.request = request
    resume = try join.resume.map { resume throws(Fault) in
      (resume.epoch, try Self.positions(resume.positions, principal, context))
    }
  }

  private static func check(_ join: SubscribeJoin, limits: GroupLimits) throws(Fault) {
    var wrong: [Fault.FieldViolation] = []
    if join.labels.count > GroupLimits.labels {
      wrong.append(
        .init(field: "join.labels", description: "\(join.labels.count); at most \(GroupLimits.labels)"))
    }
    switch join.reset {
    case .unspecified, .earliest, .latest, .none: break
    default: wrong.append(.init(field: "join.reset", description: "is not one of the four"))
    }
    if join.processingMs < 0 {
      wrong.append(.init(field: "join.processing_ms", description: "is negative"))
    }
    if join.ackCommitMs > longestAckPause {
      wrong.append(
        .init(field: "join.ack_commit_ms", description: "\(join.ackCommitMs); at most \(longestAckPause)"))
    }
    if let resume = join.resume {
      if join.memberID.isEmpty {
        wrong.append(
          .init(
            field: "join.member_id", description: "is empty; `resume` goes on with a member that there is"))
      }
      if resume.epoch < 1 { wrong.append(.init(field: "join.resume.epoch", description: "at least 1")) }
      if resume.positions.count > limits.partitions {
        wrong.append(
          .init(
            field: "join.resume.positions",
            description: "\(resume.positions.count) partitions; at most \(limits.partitions)"))
      }
    }
    guard wrong.isEmpty else {
      throw Fault(.invalidRequest, "the join has \(wrong.count) wrong field(s)", violations: wrong)
    }
  }

  /// Names and patterns of a subscription, which must have one of them.
  static func subscription(
    _ topics: [String], _ patterns: [String], _ limits: GroupLimits, _ key: GroupKey
  ) throws(Fault) -> Subscription {
    for (what, count, limit) in [
      ("topic names in a subscription", topics.count, limits.subscribedNames),
      ("patterns in a subscription", patterns.count, limits.subscribedPatterns),
    ] where count > limit {
      throw Fault(
        .groupLimit,
        "the group \(key.name.displayable): \(what) would be \(count), more than \(limit); name fewer, or use a pattern",
        metadata: ["group": key.name, "what": what, "limit": "\(limit)"])
    }
    for pattern in patterns { try GroupsCheck.pattern(pattern) }
    return Subscription(names: topics, patterns: patterns)
  }

  /// Where the member stands; nil: nothing has come of it. Topics that are gone are left out.
  private static func positions(
    _ positions: [PartitionOffset], _ principal: Principal, _ context: BrokerContext
  ) throws(Fault) -> [TopicPartition: Offset?] {
    var found: [TopicPartition: Offset?] = [:]
    var last: Topic?
    for position in positions {
      guard position.offset >= -1, position.offset < Offset.limit.rawValue, position.partition >= 0 else {
        throw Fault(
          .invalidRequest,
          "the position \(position.offset) of topic \"\(position.topic.displayable)\" partition \(position.partition) is not one",
          violations: [
            .init(field: "join.resume.positions", description: "-1, or 0 to 2^62 - 1; partitions from 0 on")
          ])
      }
      if last?.name != position.topic {
        last = try? context.registry.topic(position.topic, of: principal.tenant)
      }
      guard let topic = last, position.partition < topic.partitions else { continue }
      found[TopicPartition(topic: topic.id, partition: position.partition)] =
        .some(position.offset < 0 ? nil : Offset(position.offset))
    }
    return found
  }

  /// 16 random bytes in hexadecimal.
  private static func newID(_ random: any RandomSource) -> String {
    TopicID(high: random.next(), low: random.next()).description
  }
}
