import GroupCoordination
import SkeinCore
import Wire

@testable import SkeinClient

/// Members with real machines, the real coordinator of the broker, a model of its edge, and a network that delays and
/// breaks; driven by a seed. What the model checks is in `ConsumerWorld+Checks.swift`.
struct ConsumerWorld {
  struct Broken: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }

  /// One stream as the broker sees it.
  struct Edge {
    let session: SessionID
    var memberID = ""
    var epoch: Int32 = 0
    var isJoined = false
    var isOver = false
    var granted: Int64 = 0
    var sent: Int64 = 0
    var resume: [Int32: Int64] = [:]
    var cursors: [Int32: Cursor] = [:]
    var seeks: [Int32: UInt32] = [:]
    /// On their way, in order.
    var toBroker: [SubscribeRequest] = []
    var toMember: [SubscribeResponse] = []
    /// The end of the stream, behind everything that is on its way.
    var end: (reason: Reason?, isOK: Bool)?
  }

  struct Cursor {
    var next: Int64
    var hasSent = false
    /// It failed in passing, and waits for a seek.
    var isFailed = false
    var isPaused = false
    var isRevoking = false
  }

  static let key = GroupKey(tenant: "t", name: "g")
  static let topic = TopicID(high: 0, low: 1)
  static let partitions: Int32 = 4

  let random: SeededRandom
  let isManual: Bool
  /// Loops acknowledge their records one by one.
  let acknowledges: Bool
  var now: Int64 = 1_000_000_000
  var coordinator: GroupCoordinator
  /// High watermarks.
  var logs: [Int64]
  var members: [SimulatedConsumer] = []
  var nextSession: UInt64 = 0
  var nextToken: UInt64 = 0
  var pending: [ReplyToken: (member: Int, session: SessionID, commit: MemberCommit?, kind: Kind)] = [:]
  /// What somebody has processed, by partition and offset; what was sought past.
  var processed: [Set<Int64>]
  var waived: [Set<Int64>]
  var isQuiet = false
  var deliveries = 0
  var moves = 0
  var fences = 0

  enum Kind { case join, beat, commit, leave }

  init(seed: UInt64) {
    random = SeededRandom(seed)
    isManual = random.chance(30)
    acknowledges = random.chance(30)
    var configuration = GroupConfiguration()
    configuration.times.session = 20_000
    configuration.times.reconnectGrace = 3_000
    configuration.times.processing = 5_000
    configuration.times.handover = 10_000
    configuration.times.failures = 1_000
    coordinator = GroupCoordinator(configuration: configuration, leaderEpoch: LeaderEpoch(1))
    logs = (0..<Int(Self.partitions)).map { [random] _ in Int64(random.below(30)) }
    processed = logs.map { _ in [] }
    waived = logs.map { _ in [] }
  }

  var instant: GroupInstant { GroupInstant(monotonic: now, wall: 1_700_000_000_000 + now / 1_000_000) }

  // MARK: The coordinator: everything is durable at once

  mutating func handle(_ event: GroupEvent) throws(Broken) {
    try perform(coordinator.handle(event, at: instant))
  }

  mutating func perform(_ effects: GroupEffects) throws(Broken) {
    for output in effects.outputs { try perform(output) }
    if let append = effects.append {
      try perform(
        coordinator.handle(.durable(through: append.sequence, epoch: append.epoch), at: instant))
    }
  }

  private mutating func perform(_ output: GroupOutput) throws(Broken) {
    switch output {
    case .resolve:
      try handle(
        .topicsResolved(
          Self.key,
          GroupTopics(topics: [.init(name: "t", id: Self.topic, partitions: Self.partitions)])))
    case .topicsRefused: throw Broken("the topics were refused")
    case .memberRemoved: break
    case .push(let session, let message):
      guard let at = member(of: session) else { return }
      switch message {
      case .assignment(let assignment): try push(assignment, to: at)
      case .goAway(let fault): close(at, fault.reason)
      }
    case .reply(let token, let result): try answered(token, result)
    }
  }

  func member(of session: SessionID) -> Int? {
    members.firstIndex { $0.edge?.session == session && $0.edge?.isOver == false }
  }

  mutating func ask(
    _ request: GroupRequest, _ at: Int, _ kind: Kind, _ commit: MemberCommit? = nil
  ) throws(Broken) {
    guard let session = members[at].edge?.session else { return }
    nextToken += 1
    pending[ReplyToken(nextToken)] = (at, session, commit, kind)
    try handle(.request(request, ReplyToken(nextToken)))
  }

  private mutating func answered(
    _ token: ReplyToken, _ result: Result<GroupReply, Fault>
  ) throws(Broken) {
    guard let asked = pending.removeValue(forKey: token), members[asked.member].edge?.session == asked.session
    else { return }
    let at = asked.member
    switch (asked.kind, result) {
    case (.join, .success):
      members[at].edge?.isJoined = true
      send(
        SubscribeResponse(
          joined: SubscribeJoined(
            memberID: members[at].edge?.memberID ?? "", heartbeatMs: 1_000, sessionMs: 20_000)), to: at)
    case (.beat, .success(.alive(let epoch))):
      send(SubscribeResponse(heartbeat: BrokerHeartbeat(epoch: epoch)), to: at)
    case (.commit, .success(.committed(let results))):
      guard let commit = asked.commit else { return }
      send(
        SubscribeResponse(
          committed: CommitResults(
            id: commit.id,
            results: zip(commit.offsets, results).map {
              PartitionError(topic: "t", partition: $0.partition, error: $1?.status)
            })), to: at)
    case (.leave, _): close(at, nil)
    case (_, .failure(let fault)): close(at, fault.reason)
    default: break
    }
  }

  // MARK: The edge

  mutating func send(_ response: SubscribeResponse, to at: Int) {
    guard members[at].edge?.isOver == false else { return }
    members[at].edge?.toMember.append(response)
  }

  /// The broker ends the stream.
  mutating func close(_ at: Int, _ reason: Reason?) {
    guard members[at].edge?.isOver == false, let session = members[at].edge?.session else { return }
    members[at].edge?.isOver = true
    members[at].edge?.end = (reason, reason == nil)
    try? handle(.streamLost(session))
  }

  mutating func push(_ assignment: AssignmentMessage, to at: Int) throws(Broken) {
    guard var edge = members[at].edge, assignment.epoch >= edge.epoch else { return }
    edge.epoch = assignment.epoch
    let kept = Set(assignment.partitions.map(\.partition))
    let revoked = Set(assignment.revoke.map(\.partition))
    for (number, cursor) in edge.cursors
    where (cursor.isRevoking && kept.contains(number)) || !(kept.contains(number) || revoked.contains(number))
    {
      edge.cursors[number] = nil
    }
    for number in kept where edge.cursors[number] == nil {
      // A position is of the stream's beginning.
      let from = edge.resume.removeValue(forKey: number) ?? -1
      edge.cursors[number] = Cursor(next: from >= 0 ? from : committed(number))
    }
    for number in revoked { edge.cursors[number]?.isRevoking = true }
    members[at].edge = edge
    func lists(_ numbers: Set<Int32>) -> [TopicPartitions] {
      numbers.isEmpty
        ? [] : [TopicPartitions(topic: "t", partitions: numbers.sorted(), topicID: "1")]
    }
    send(
      SubscribeResponse(
        assignment: SubscribeAssignment(
          epoch: assignment.epoch, joinEpoch: assignment.joinEpoch, partitions: lists(kept),
          revoke: lists(revoked), revokeWithinMs: assignment.revokeWithin ?? 0)), to: at)
    members[at].edge?.resume = [:]
  }

  func committed(_ partition: Int32) -> Int64 {
    coordinator.table.groups[Self.key]?.offsets[TopicPartition(topic: Self.topic, partition: partition)]?
      .offset.rawValue ?? 0
  }

  mutating func receive(_ request: SubscribeRequest, from at: Int) throws(Broken) {
    guard let edge = members[at].edge, !edge.isOver else { return }
    if let credit = request.credit {
      members[at].edge?.granted = max(edge.granted, Int64(credit.messages))
    }
    if let join = request.join { return try join_(join, at) }
    if let commit = request.commit {
      let offsets = commit.offsets.map {
        OffsetCommit(
          partition: TopicPartition(topic: Self.topic, partition: $0.partition), offset: Offset($0.offset))
      }
      try ask(
        .commit(CommitRequest(group: Self.key, member: (edge.memberID, edge.epoch), offsets: offsets)), at,
        .commit, commit)
    }
    for list in request.pause?.pause ?? [] {
      for number in list.partitions { members[at].edge?.cursors[number]?.isPaused = true }
    }
    if let seek = request.seek {
      guard seek.number > members[at].edge?.seeks[seek.partition] ?? 0 else {
        throw Broken("the number of a seek does not rise")
      }
      members[at].edge?.seeks[seek.partition] = seek.number
      members[at].edge?.cursors[seek.partition]?.next = seek.offset
      members[at].edge?.cursors[seek.partition]?.isFailed = false
    }
    for list in request.pause?.resume ?? [] {
      for number in list.partitions { members[at].edge?.cursors[number]?.isPaused = false }
    }
    if let beat = request.heartbeat {
      var heartbeat = GroupCoordination.Heartbeat(
        group: Self.key, memberID: edge.memberID, epoch: beat.epoch)
      if beat.hasOwned {
        let owned = Set(beat.owned.flatMap(\.partitions))
        heartbeat.owned = Set(owned.map { TopicPartition(topic: Self.topic, partition: $0) })
        for (number, cursor) in edge.cursors where cursor.isRevoking && !owned.contains(number) {
          members[at].edge?.cursors[number] = nil
          moves += 1
        }
      }
      heartbeat.progress =
        switch beat.progress {
        case .idle: .idle
        case .advanced: .advanced
        default: .working
        }
      try ask(.heartbeat(heartbeat, edge.session), at, .beat)
    }
    if let leave = request.leave {
      try ask(
        .leave(LeaveRequest(group: Self.key, memberID: edge.memberID, isTemporary: leave.temporary)), at,
        .leave)
    }
  }

  private mutating func join_(_ join: SubscribeJoin, _ at: Int) throws(Broken) {
    guard let session = members[at].edge?.session else { return }
    members[at].edge?.memberID = join.memberID
    if let resume = join.resume {
      for position in resume.positions { members[at].edge?.resume[position.partition] = position.offset }
      var heartbeat = GroupCoordination.Heartbeat(
        group: Self.key, memberID: join.memberID, epoch: resume.epoch)
      heartbeat.owned = Set(
        resume.positions.map { TopicPartition(topic: Self.topic, partition: $0.partition) })
      heartbeat.progress = .working
      return try ask(.heartbeat(heartbeat, session), at, .join)
    }
    var request = JoinRequest(
      group: Self.key, memberID: join.memberID, processID: join.processID,
      subscription: Subscription(names: ["t"]))
    request.processing = 5_000
    try ask(.join(request, session), at, .join)
  }

  /// A partition of which something has come stops, with an error that passes.
  mutating func failPartition(_ at: Int) {
    guard let edge = members[at].edge, !edge.isOver,
      let number = edge.cursors.filter({ $0.value.hasSent && !$0.value.isFailed }).keys.min()
    else { return }
    members[at].edge?.cursors[number]?.isFailed = true
    let fault = Fault(.offsetStoreUnavailable, "in passing")
    send(
      SubscribeResponse(error: PartitionError(topic: "t", partition: number, error: fault.status)), to: at)
  }

  /// Some records of some partition, if credit allows: whole batches, which may begin before what is meant.
  mutating func pump(_ at: Int) {
    guard let edge = members[at].edge, !edge.isOver, edge.sent < edge.granted else { return }
    let numbers = edge.cursors.filter {
      !$0.value.isPaused && !$0.value.isRevoking && !$0.value.isFailed && $0.value.next < logs[Int($0.key)]
    }.keys.sorted()
    guard !numbers.isEmpty else { return }
    let number = numbers[random.below(numbers.count)]
    guard let next = edge.cursors[number]?.next else { return }
    let base = max(0, next - Int64(random.below(3)))
    let end = min(logs[Int(number)], next + 1 + Int64(random.below(6)))
    members[at].edge?.sent += end - base
    members[at].edge?.cursors[number]?.next = end
    members[at].edge?.cursors[number]?.hasSent = true
    let total = UInt64(members[at].edge?.sent ?? 0)
    send(
      SubscribeResponse(
        read: ReadBatches(
          topic: "t", partition: number, baseOffset: base, nextOffset: end, leaderEpoch: 1,
          totalMessages: total, totalBytes: total, seek: edge.seeks[number] ?? 0,
          fromOffset: base < next ? next : 0)), to: at)
  }
}
