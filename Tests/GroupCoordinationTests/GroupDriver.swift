import GroupCoordination
import SkeinCore

/// A coordinator and its log in one, for tests of single steps: everything is durable at once, unless held.
struct GroupDriver {
  static let key = GroupKey(tenant: "t", name: "g")

  var configuration: GroupConfiguration
  var coordinator: GroupCoordinator
  var now = GroupInstant(monotonic: 1_000_000_000, wall: 1_700_000_000_000)
  var log: [GroupRecord] = []
  /// Durability is reported only by `release`.
  var isHeld = false
  var nextDeadline: Int64?
  var appends: [GroupAppend] = []
  var messages: [(session: SessionID, message: MemberMessage)] = []
  var resolves: [Subscription] = []
  var refusedTopics: [Fault] = []
  var removed: [String] = []
  private var replies: [ReplyToken: Result<GroupReply, Fault>] = [:]
  private var lastToken: UInt64 = 0
  private var epoch: Int32 = 1

  init(_ configuration: GroupConfiguration = GroupConfiguration()) {
    self.configuration = configuration
    coordinator = GroupCoordinator(configuration: configuration, leaderEpoch: LeaderEpoch(1))
    perform(coordinator.start(at: now))
  }

  /// Another leadership, from the bytes of the log.
  mutating func restart() throws {
    epoch += 1
    coordinator = GroupCoordinator(configuration: configuration, leaderEpoch: LeaderEpoch(epoch))
    for record in log { coordinator.replay(try GroupRecord(key: record.key, value: record.value)) }
    perform(coordinator.start(at: now))
  }

  mutating func perform(_ effects: GroupEffects) {
    nextDeadline = effects.nextDeadline
    for output in effects.outputs {
      switch output {
      case .reply(let token, let result): replies[token] = result
      case .push(let session, let message): messages.append((session, message))
      case .resolve(_, let subscription): resolves.append(subscription)
      case .topicsRefused(_, let fault): refusedTopics.append(fault)
      case .memberRemoved(_, let member, let client, let why):
        removed.append("\(member) of \(client): \(why)")
      }
    }
    guard let append = effects.append else { return }
    appends.append(append)
    if !isHeld { release(append) }
  }

  mutating func release(_ append: GroupAppend) {
    log += append.records
    perform(coordinator.handle(.durable(through: append.sequence, epoch: append.epoch), at: now))
  }

  mutating func handle(_ event: GroupEvent) { perform(coordinator.handle(event, at: now)) }

  /// Nil while the answer waits.
  mutating func ask(_ request: GroupRequest) -> Result<GroupReply, Fault>? {
    let token = send(request)
    return answer(token)
  }

  mutating func send(_ request: GroupRequest) -> ReplyToken {
    lastToken += 1
    let token = ReplyToken(lastToken)
    handle(.request(request, token))
    return token
  }

  mutating func answer(_ token: ReplyToken) -> Result<GroupReply, Fault>? {
    replies.removeValue(forKey: token)
  }

  /// The fault of a request, nil if it succeeded.
  mutating func fault(_ request: GroupRequest) -> Fault? {
    guard case .failure(let fault)? = ask(request) else { return nil }
    return fault
  }

  mutating func pass(milliseconds: Int64) {
    now.monotonic += milliseconds * 1_000_000
    now.wall += milliseconds
    handle(.timer)
  }

  // MARK: Shorthands

  static func partition(_ number: Int32, topic: UInt64 = 1) -> TopicPartition {
    TopicPartition(topic: TopicID(high: 0, low: topic), partition: number)
  }

  static func join(
    _ id: String, instance: String? = nil, names: [String] = ["a"], patterns: [String] = []
  ) -> JoinRequest {
    JoinRequest(
      group: key, memberID: id, instanceID: instance, processID: "p-" + id, client: "test",
      subscription: Subscription(names: names, patterns: patterns))
  }

  /// Joins on the session of that number.
  @discardableResult
  mutating func join(_ id: String, session: UInt64, instance: String? = nil) -> Fault? {
    fault(.join(Self.join(id, instance: instance), SessionID(session)))
  }

  mutating func topics(a: Int32) {
    handle(
      .topicsResolved(
        Self.key, GroupTopics(topics: [.init(name: "a", id: TopicID(high: 0, low: 1), partitions: a)])))
  }

  mutating func heartbeat(
    _ id: String, session: UInt64, owned: [Int32]? = nil, progress: Heartbeat.Progress = .idle
  ) -> Fault? {
    fault(
      .heartbeat(
        Heartbeat(
          group: Self.key, memberID: id, epoch: epoch(id),
          owned: owned.map { Set($0.map { Self.partition($0) }) },
          progress: progress), SessionID(session)))
  }

  mutating func commit(_ id: String, _ partition: Int32, _ offset: Int64, epoch: Int32? = nil) -> Fault? {
    let request = CommitRequest(
      group: Self.key, member: (id, epoch ?? self.epoch(id)),
      offsets: [OffsetCommit(partition: Self.partition(partition), offset: Offset(offset))])
    switch ask(.commit(request)) {
    case .success(.committed(let results))?: return results.first ?? nil
    case .failure(let fault)?: return fault
    default: return nil
    }
  }

  var group: GroupState? { coordinator.table.groups[Self.key] }
  func member(_ id: String) -> GroupMember? { group?.members[id] }
  func epoch(_ id: String) -> Int32 { member(id)?.assignment.epoch ?? 0 }
  func assigned(_ id: String) -> [Int32] {
    (member(id)?.assignment.assigned.keys.map(\.partition) ?? []).sorted()
  }
  func revoking(_ id: String) -> [Int32] {
    (member(id)?.assignment.revoking.keys.map(\.partition) ?? []).sorted()
  }

  /// The last message of a session, if it is an assignment.
  func told(_ session: UInt64) -> AssignmentMessage? {
    guard case .assignment(let message)? = messages.last(where: { $0.session == SessionID(session) })?.message
    else {
      return nil
    }
    return message
  }
}
