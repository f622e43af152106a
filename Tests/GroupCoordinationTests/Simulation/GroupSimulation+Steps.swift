import GroupCoordination
import SkeinCore

/// What members do, what the network does to it, and what goes wrong.
extension GroupSimulation {
  // MARK: Network

  mutating func deliver() throws(Broken) {
    guard !flights.isEmpty else { return }
    let index = isQuiet ? 0 : random.below(flights.count)
    let flight = flights.remove(at: index)
    if !isQuiet {
      switch flight {
      case .request, .message:
        if random.chance(7) { return trace("lost: \(flight)") }
        if random.chance(12) { flights.append(flight) }
      default: break
      }
    }
    try arrive(flight)
  }

  private mutating func arrive(_ flight: Flight) throws(Broken) {
    switch flight {
    case .request(let broker, let member, let memberID, let request, let session, let holds):
      guard !brokers[broker].isDead, !brokers[broker].lost.contains(session) else { return }
      trace("broker \(broker) gets \(request)")
      switch request {
      case .join, .heartbeat: brokers[broker].heard[memberID] = session
      case .leave: brokers[broker].heard[memberID] = nil
      default: break
      }
      lastToken += 1
      try handle(
        .request(carry(request, over: session), ReplyToken(lastToken)), by: broker, holds: holds,
        sender: member, memberID: memberID)
    case .streamLost(let broker, let session):
      guard !brokers[broker].isDead else { return }
      trace("broker \(broker) loses \(session)")
      brokers[broker].lost.insert(session)
      try handle(.streamLost(session), by: broker)
      if let (member, memberID) = sessionOwners[session], members[member].phase == .dead,
        brokers[broker].heard[memberID] == session
      {
        lostAt[memberID] = (broker, now.monotonic)
      }
    case .topics(let broker):
      guard !brokers[broker].isDead else { return }
      let list = topics.topics
      let matching = list.map(\.name).filter { $0 == "b" }
      try handle(
        .topicsResolved(Self.key, GroupTopics(topics: list, patterns: isMixed ? ["b.*": matching] : [:])),
        by: broker)
    case .message(let member, let memberID, let session, let message, let grants):
      guard members[member].memberID == memberID, members[member].session == session,
        members[member].mood != .paused
      else { return }
      trace("\(memberID) gets \(message)")
      receive(message, member, grants)
    case .reply(let member, let memberID, let isHeartbeat, let fault):
      guard members[member].memberID == memberID, members[member].mood != .paused, let fault else { return }
      trace("\(memberID) is answered \(fault)")
      refused(member, fault, isHeartbeat)
    case .staleDurable(let broker, let through, let epoch):
      guard !brokers[broker].isDead else { return }
      try handle(.durable(through: through, epoch: epoch), by: broker)
    case .appendFailed(let broker):
      guard !brokers[broker].isDead else { return }
      try handle(.appendFailed(epoch: brokers[broker].coordinator.leaderEpoch), by: broker)
    }
  }

  /// The edge says on which stream a request came.
  private func carry(_ request: GroupRequest, over session: SessionID) -> GroupRequest {
    switch request {
    case .join(let join, _): .join(join, session)
    case .heartbeat(let heartbeat, _): .heartbeat(heartbeat, session)
    default: request
    }
  }

  private mutating func receive(_ message: MemberMessage, _ index: Int, _ grants: [TopicPartition: Int32]) {
    switch message {
    case .assignment(let assignment):
      let before = members[index].owned.count
      members[index].apply(assignment, grants: grants)
      if members[index].owned.count > before { statistics.handovers += 1 }
    case .goAway: leaveGroup(index)
    }
  }

  private mutating func refused(_ index: Int, _ fault: Fault, _ isHeartbeat: Bool) {
    switch fault.reason {
    case .unknownMember, .memberExpired: leaveGroup(index)
    case .staleMemberEpoch: if isHeartbeat { leaveGroup(index) }
    case .notCoordinator, .coordinatorLoading: breakStream(index)
    default: break
    }
  }

  /// It is told that it is a member no more. Who hangs does not join again.
  private mutating func leaveGroup(_ index: Int) {
    members[index].drop()
    if members[index].mood == .hung || members[index].mood == .stubborn { members[index].phase = .dead }
  }

  mutating func breakStream(_ index: Int) {
    guard let session = members[index].session else { return }
    members[index].session = nil
    flights.append(.streamLost(broker: members[index].broker, session))
  }

  /// On the stream that there is, also when it goes to a broker that leads no more; else on a new one to the leader.
  mutating func send(_ request: GroupRequest, from index: Int) {
    let broker = members[index].broker
    if brokers[broker].isDead { members[index].session = nil }
    if isQuiet, broker != current { breakStream(index) }
    if members[index].session == nil {
      lastSession += 1
      let session = SessionID(lastSession)
      members[index].session = session
      members[index].broker = current
      sessionOwners[session] = (index, members[index].memberID)
      if members[index].phase == .member { statistics.resumes += 1 }
    }
    guard let session = members[index].session else { return }
    flights.append(
      .request(
        broker: members[index].broker, member: index, memberID: members[index].memberID, request, session,
        holds: members[index].owned))
  }

  // MARK: Members

  mutating func act(_ index: Int) {
    let member = members[index]
    guard member.phase != .dead, member.mood != .paused else { return }
    switch member.phase {
    case .out: join(index)
    case .joining: sendJoin(index)
    case .member: work(index)
    case .dead: break
    }
  }

  private mutating func join(_ index: Int) {
    members[index].joins += 1
    members[index].memberID = "m\(index).\(members[index].joins)"
    members[index].phase = .joining
    members[index].epoch = 0
    breakStream(index)
    if isMixed {
      members[index].subscription = anySubscription()
      members[index].assignor = [nil, "range", "round-robin", "affinity:zone"][random.below(4)]
    }
    if members[index].instance != nil, members[index].joins > 1 { statistics.takeovers += 1 }
    sendJoin(index)
  }

  private mutating func sendJoin(_ index: Int) {
    let member = members[index]
    var request = JoinRequest(
      group: Self.key, memberID: member.memberID, instanceID: member.instance, processID: "p\(index)",
      subscription: member.subscription)
    request.assignor = member.assignor
    send(.join(request, SessionID(0)), from: index)
  }

  /// By name or by pattern: what "b.*" stands for, the edge knows.
  private mutating func anySubscription() -> Subscription {
    switch random.below(4) {
    case 0: Subscription(names: ["a"])
    case 1: Subscription(patterns: ["b.*"])
    default: Subscription(names: ["a"], patterns: ["b.*"])
    }
  }

  private mutating func work(_ index: Int) {
    switch random.below(isQuiet ? 0 : 100) {
    case 0..<40: heartbeat(index)
    case 40..<72: commit(index)
    case 72..<95:
      guard members[index].mood == .well, !members[index].releasing.isEmpty else { return }
      commit(index, members[index].releasing)
      members[index].release()
      heartbeat(index)
    default: leave(index)
    }
  }

  mutating func heartbeat(_ index: Int) {
    let member = members[index]
    let isNewStream = member.session == nil
    let progress: Heartbeat.Progress =
      switch member.mood {
      case .hung: .working
      case .stubborn: .advanced
      default: member.owned.isEmpty ? .idle : .advanced
      }
    let owned = isNewStream || isQuiet || random.chance(60) ? Set(member.owned.keys) : nil
    var request = Heartbeat(
      group: Self.key, memberID: member.memberID, epoch: member.epoch, owned: owned, progress: progress)
    if isMixed, !isQuiet, random.chance(5) { members[index].subscription = anySubscription() }
    if isMixed { request.subscription = members[index].subscription }
    send(.heartbeat(request, SessionID(0)), from: index)
  }

  private mutating func commit(_ index: Int, _ partitions: Set<TopicPartition>? = nil) {
    guard members[index].mood != .hung else { return }
    let chosen = partitions ?? Set(members[index].owned.keys)
    guard !chosen.isEmpty else { return }
    var offsets: [OffsetCommit] = []
    for partition in chosen.sorted() {
      let base = max(
        members[index].positions[partition] ?? 0, brokers[current].shadow.offsets[partition]?.rawValue ?? 0)
      let position = base + Int64(random.below(5))
      members[index].positions[partition] = position
      offsets.append(OffsetCommit(partition: partition, offset: Offset(position)))
    }
    let member = members[index]
    send(
      .commit(CommitRequest(group: Self.key, member: (member.memberID, member.epoch), offsets: offsets)),
      from: index)
  }

  private mutating func leave(_ index: Int) {
    let member = members[index]
    send(
      .leave(
        LeaveRequest(
          group: Self.key, memberID: member.memberID,
          isTemporary: member.instance != nil && random.chance(60))), from: index)
    members[index].drop()
  }

  // MARK: Trouble

  mutating func trouble() throws(Broken) {
    let index = random.below(members.count)
    switch random.below(13) {
    case 0...1:
      if members.count < 7, random.chance(70) {
        let instance = random.chance(25) ? "i\(random.below(4))" : nil
        members.append(SimulatedMember(index: members.count, instance: instance))
        act(members.count - 1)
      }
    case 2...4: breakStream(index)
    case 5:
      members[index].phase = .dead
      breakStream(index)
    case 6: if members[index].phase == .member { members[index].mood = random.chance(50) ? .hung : .stubborn }
    case 7: members[index].mood = members[index].mood == .paused ? .well : .paused
    case 8...9: try restartBroker()
    case 10:
      changeTopics()
      flights.append(.topics(broker: current))
    case 11: try handle(.expireOffsets, by: current)
    default: try administer()
    }
  }

  /// Partitions are added, never taken; a topic that is deleted and created again is another one.
  private mutating func changeTopics() {
    var list = topics.topics
    if list.count > 1, random.chance(40) {
      list.removeLast()
    } else if list.count == 1, random.chance(60) {
      list.append(
        .init(name: "b", id: TopicID(high: 1, low: UInt64(step)), partitions: Int32(1 + random.below(2))))
    } else if list[random.below(list.count)].partitions < 5 {
      list[0].partitions += 1
    }
    topics = GroupTopics(topics: list)
  }

  private mutating func administer() throws(Broken) {
    lastToken += 1
    let token = ReplyToken(lastToken)
    if random.chance(60) {
      try handle(.request(.deleteGroup(Self.key), token), by: current)
    } else {
      let offset = OffsetCommit(
        partition: TopicPartition(topic: topics.topics[0].id, partition: 0), offset: Offset(0))
      try handle(.request(.resetOffsets(Self.key, [offset], dryRun: false), token), by: current)
    }
  }

  // MARK: The end

  /// Troubles stop; who is dead, hanging or paused stays so. Then everything must be owned by somebody who is alive, and
  /// every question answered.
  mutating func comeToRest() throws(Broken) {
    isQuiet = true
    for round in 0..<16 {
      step += 1
      for index in members.indices { settle(index) }
      for _ in 0..<400 where !flights.isEmpty || durable < log.count {
        while durable < log.count { try makeNextDurable(telling: true) }
        try deliver()
      }
      try check()
      try pass(milliseconds: 3000)
      if round == 3 { try checkLost() }
      if round == 12 { try handle(.expireOffsets, by: current) }
    }
    while !flights.isEmpty || durable < log.count {
      while durable < log.count { try makeNextDurable(telling: true) }
      try deliver()
    }
    try checkRest()
  }

  private mutating func settle(_ index: Int) {
    let member = members[index]
    guard member.phase != .dead, member.mood != .paused else { return }
    guard member.phase == .member else { return act(index) }
    if member.mood == .well { members[index].release() }
    heartbeat(index)
  }

  /// Whose stream is known to be gone for longer than the grace is a member no more.
  private func checkLost() throws(Broken) {
    for (id, lost) in lostAt where lost.broker == current {
      let age = (now.monotonic - lost.time) / 1_000_000
      if age > configuration.times.reconnectGrace + 1000, durableShadow.profiles[id] != nil,
        !members.contains(where: { $0.memberID == id && $0.phase != .dead })
      {
        throw Broken("\(id) is still a member \(age) ms after its stream broke")
      }
    }
  }

  private func checkRest() throws(Broken) {
    for broker in brokers.indices where !brokers[broker].isDead && !brokers[broker].open.isEmpty {
      throw Broken("broker \(broker) did not answer \(brokers[broker].open.count) requests")
    }
    let alive = members.filter { $0.phase != .dead && $0.mood != .paused }
    guard !alive.isEmpty else { return }
    for member in alive where member.phase != .member || durableShadow.profiles[member.memberID] == nil {
      // Two processes with one instance id: the second one waits.
      let isSecond = alive.contains {
        $0.index != member.index && $0.instance != nil && $0.instance == member.instance
      }
      if !isSecond { throw Broken("\(member.memberID) is not a member after all is quiet: \(member.phase)") }
    }
    for topic in topics.topics {
      for number in 0..<topic.partitions {
        let partition = TopicPartition(topic: topic.id, partition: number)
        let owners = alive.filter { $0.owned[partition] != nil }.map(\.memberID)
        // Who waits for an instance id gets nothing.
        let isWanted = alive.contains { $0.phase == .member && $0.subscribes(topic.name) }
        if owners.count != (isWanted ? 1 : 0) {
          throw Broken("progress: partition \(number) of \(topic.name) is with \(owners)")
        }
      }
    }
    for (id, assignment) in durableShadow.assignments where !assignment.isSettled {
      throw Broken("progress: \(id) is not settled")
    }
  }
}
