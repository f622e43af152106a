import GroupCoordination
import SkeinCore

/// Coordinators and their log.
extension GroupSimulation {
  mutating func startBroker() throws(Broken) {
    var coordinator = GroupCoordinator(
      configuration: configuration, leaderEpoch: LeaderEpoch(Int32(brokers.count + 1)))
    var shadow = ShadowGroup()
    for entry in log {
      for record in entry.append.records { coordinator.replay(record) }
      try shadow.apply(entry.append.records, isReset: entry.isReset)
    }
    let effects = coordinator.start(at: now)
    brokers.append(SimulatedBroker(coordinator: coordinator, shadow: shadow))
    try perform(effects, by: current, isReset: false)
  }

  /// Another leadership: what was not durable is in the log up to some point, and gone after it.
  mutating func restartBroker() throws(Broken) {
    statistics.restarts += 1
    let old = current
    let kept = durable + random.below(log.count - durable + 1)
    log.removeSubrange(kept...)
    while durable < log.count { try makeNextDurable(telling: false) }
    brokers[old].isLeader = false
    if random.chance(50) {
      brokers[old].isDead = true
    } else {
      flights.append(.appendFailed(broker: old))
    }
    trace("restart: \(kept) appends remain, the old one \(brokers[old].isDead ? "is dead" : "goes on")")
    let last = brokers[old].logged.last?.sequence ?? 0
    try startBroker()
    if random.chance(40) {
      flights.append(
        .staleDurable(broker: current, through: last, epoch: brokers[old].coordinator.leaderEpoch))
    }
    // Who has a stream to the old one finds out sooner or later.
    for index in members.indices where members[index].broker == old && random.chance(50) {
      breakStream(index)
    }
  }

  /// The next group commit.
  mutating func flush() throws(Broken) {
    let count = 1 + random.below(4)
    for _ in 0..<count where durable < log.count { try makeNextDurable(telling: true) }
  }

  mutating func makeNextDurable(telling: Bool) throws(Broken) {
    let entry = log[durable]
    durable += 1
    try durableShadow.apply(entry.append.records, isReset: entry.isReset)
    guard telling, !brokers[entry.broker].isDead else { return }
    try handle(.durable(through: entry.append.sequence, epoch: entry.append.epoch), by: entry.broker)
  }

  mutating func handle(
    _ event: GroupEvent, by broker: Int, holds: [TopicPartition: Int32] = [:], sender: Int = 0,
    memberID: String = ""
  ) throws(Broken) {
    if case .request(.join(let join, let session), let token) = event, random.chance(40) {
      brokers[broker].open[token] = SimulatedBroker.Expectation(member: sender, memberID: memberID)
      brokers[broker].gathered.append((join, session, token))
      return
    }
    let gathered = brokers[broker].gathered
    if !gathered.isEmpty {
      brokers[broker].gathered = []
      try perform(brokers[broker].coordinator.handle(.joins(gathered), at: now), by: broker, isReset: false)
    }
    var isReset = false
    if case .request(let request, let token) = event {
      var expectation = SimulatedBroker.Expectation(member: sender, memberID: memberID)
      switch request {
      case .heartbeat: expectation.isHeartbeat = true
      case .commit(let commit): expectation.commits = judge(commit, holds: holds, at: brokers[broker].shadow)
      case .resetOffsets, .deleteGroup, .deleteOffsets: isReset = true
      default: break
      }
      brokers[broker].open[token] = expectation
    }
    let effects = brokers[broker].coordinator.handle(event, at: now)
    if case .request(.commit(let commit), _) = event, let append = effects.append {
      try checkCommit(commit, append, holds: holds, before: brokers[broker].shadow)
    }
    try perform(effects, by: broker, isReset: isReset)
  }

  mutating func perform(_ effects: GroupEffects, by broker: Int, isReset: Bool) throws(Broken) {
    if let append = effects.append {
      try brokers[broker].shadow.apply(append.records, isReset: isReset)
      count(append)
      if brokers[broker].isLeader {
        log.append((append, broker, isReset))
        brokers[broker].logged.append(append)
      } else if !brokers[broker].failureTold {
        brokers[broker].failureTold = true
        flights.append(.appendFailed(broker: broker))
      }
    }
    for output in effects.outputs { try perform(output, by: broker) }
  }

  private mutating func perform(_ output: GroupOutput, by broker: Int) throws(Broken) {
    switch output {
    case .reply(let token, let result): try answered(token, result, by: broker)
    case .push(let session, let message):
      guard let (member, memberID) = sessionOwners[session] else { return }
      var grants: [TopicPartition: Int32] = [:]
      if case .assignment(let assignment) = message {
        grants = brokers[broker].shadow.history[memberID]?[assignment.epoch] ?? [:]
      }
      flights.append(.message(member: member, memberID: memberID, session, message, grants: grants))
    case .resolve: flights.append(.topics(broker: broker))
    case .topicsRefused: throw Broken("the topics were refused")
    case .memberRemoved: break
    }
  }

  private mutating func answered(
    _ token: ReplyToken, _ result: Result<GroupReply, Fault>, by broker: Int
  ) throws(Broken) {
    guard let expected = brokers[broker].open.removeValue(forKey: token) else {
      throw Broken("a request was answered twice")
    }
    var fault: Fault?
    switch result {
    case .success(.committed(let results)): try checkAnswer(results, expected)
    case .success: break
    case .failure(let failure):
      fault = failure
      if failure.metadata["cause"] == "dropped" {
        throw Broken("\(expected.memberID) dropped something unasked")
      }
      let isLost = failure.reason == .notCoordinator
      if !isLost, expected.commits.contains(where: \.mustPass) {
        throw Broken("G15: the last commit must pass, but: \(failure)")
      }
    }
    flights.append(
      .reply(
        member: expected.member, memberID: expected.memberID, isHeartbeat: expected.isHeartbeat, fault))
  }

  // MARK: Commits

  /// A commit must pass while the grant under which it was sent is in force, and if it does not go back.
  private func judge(
    _ commit: CommitRequest, holds: [TopicPartition: Int32], at shadow: ShadowGroup
  ) -> [SimulatedBroker.Commit] {
    guard let member = commit.member else { return [] }
    return commit.offsets.map { item in
      let isHeld =
        shadow.profiles[member.id] != nil && shadow.grant(member.id, item.partition) == holds[item.partition]
      return SimulatedBroker.Commit(
        partition: item.partition, offset: item.offset,
        mustPass: isHeld && item.offset >= shadow.offsets[item.partition] ?? .zero)
    }
  }

  /// G15: what was sent under another grant than the one in force is not taken.
  private mutating func checkCommit(
    _ commit: CommitRequest, _ append: GroupAppend, holds: [TopicPartition: Int32], before: ShadowGroup
  ) throws(Broken) {
    for record in append.records {
      guard case .offset(_, let partition, .some) = record, let member = commit.member else { continue }
      guard let grant = before.grant(member.id, partition), grant == holds[partition] else {
        throw Broken(
          "G15: \(member.id) commits \(partition.partition) of grant \(holds[partition] ?? -1), in force is \(before.grant(member.id, partition) ?? -1)"
        )
      }
      statistics.commits += 1
    }
  }

  /// Whoever is told that an offset is committed finds it in the log, for ever (G2).
  private mutating func checkAnswer(_ results: [Fault?], _ expected: SimulatedBroker.Expectation)
    throws(Broken)
  {
    for (result, commit) in zip(results, expected.commits) {
      if let result {
        statistics.refused += 1
        if commit.mustPass { throw Broken("G15: a commit that must pass is refused: \(result)") }
      } else if durableShadow.value != nil,
        durableShadow.offsets[commit.partition] ?? Offset(-1) < commit.offset,
        !durableShadow.profiles.isEmpty
      {
        throw Broken("G2: a commit was answered that is not durable")
      }
    }
  }

  private mutating func count(_ append: GroupAppend) {
    for record in append.records {
      switch record {
      case .assignment(_, _, let value?):
        statistics.grants += value.assigned.values.count { $0 == value.epoch }
      case .member(_, _, nil): statistics.expiries += 1
      case .group(_, nil): statistics.deletions += 1
      default: break
      }
    }
  }
}
