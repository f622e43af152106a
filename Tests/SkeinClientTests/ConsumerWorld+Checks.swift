import GroupCoordination
import SkeinCore
import Wire

@testable import SkeinClient

extension ConsumerWorld {
  // MARK: Promises

  /// A record reaches the application.
  mutating func delivered(_ offset: Int64, _ grant: UInt64, _ partition: Int32, _ at: Int) throws(Broken) {
    deliveries += 1
    try checkOwner(partition, at)
    let known = members[at].expected[grant]
    // Where a zombie's group stands is no business of its own any more.
    if known != nil || isMember(at) {
      let wanted = known ?? committed(partition)
      guard offset == wanted else {
        throw Broken("member \(at) gets \(partition)/\(offset), \(wanted) was to come")
      }
    }
    members[at].expected[grant] = offset + 1
  }

  private func isMember(_ at: Int) -> Bool {
    coordinator.table.groups[Self.key]?.members[members[at].machine.memberID] != nil
  }

  /// G10 and G12: who is a member has the partition in the coordinator's records; who is none is so for the session
  /// time at most.
  func checkOwner(_ partition: Int32, _ at: Int) throws(Broken) {
    guard now - members[at].heardAt <= 20_000_000_000 else {
      throw Broken("G12: member \(at) works after \((now - members[at].heardAt) / 1_000_000) ms of silence")
    }
    let key = TopicPartition(topic: Self.topic, partition: partition)
    guard let member = coordinator.table.groups[Self.key]?.members[members[at].machine.memberID] else {
      return
    }
    guard member.assignment.assigned[key] != nil || member.assignment.revoking[key] != nil else {
      throw Broken("G10: member \(at) works on \(partition), which it does not have")
    }
  }

  /// A commit says that everything before is processed, by somebody.
  func checkCommit(_ commit: MemberCommit, by at: Int) throws(Broken) {
    for offset in commit.offsets {
      let partition = Int(offset.partition)
      for each in 0..<offset.offset
      where !processed[partition].contains(each) && !waived[partition].contains(each) {
        throw Broken("member \(at) commits \(partition)/\(offset.offset), and nobody has processed \(each)")
      }
    }
  }

  func checkSettled(_ error: SkeinError?, _ at: Int) throws(Broken) {
    guard let error else { return }
    let excused: Set<Reason> = [
      .notAssigned, .staleMemberEpoch, .memberExpired, .unknownMember, .cancelled, .commitBehind,
    ]
    if !excused.contains(where: { $0.name == error.reason }) {
      throw Broken("member \(at) is told of its commit: \(error)")
    }
  }

  /// No more is granted and held than the window and one message.
  func checkWindow(_ at: Int) throws(Broken) {
    let credit = members[at].machine.credit
    guard credit.held.records >= 0, credit.held.bytes >= 0 else { throw Broken("less than nothing is held") }
    let onTheWay = max(0, credit.granted.records - credit.received.records)
    guard !credit.isConnected || onTheWay + credit.held.records <= credit.window.records + 9 else {
      throw Broken("member \(at) granted \(onTheWay) on the way and holds \(credit.held.records)")
    }
  }

  /// The clock leaves nothing undone.
  private func checkClock(_ at: Int) throws(Broken) {
    for case let slot? in members[at].machine.slots {
      let isIdle = slot.phase == .revoking && slot.outstanding == 0 && !slot.isStarting
      let isAnswered = slot.phase == .releasing && slot.want == nil && slot.committing == nil
      guard !isIdle, !isAnswered else {
        throw Broken("member \(at) keeps \(slot.partition), \(slot.phase), with nothing to wait for")
      }
      guard slot.retryAt ?? .max > now else {
        throw Broken("member \(at) does not ask for \(slot.partition) again")
      }
    }
  }

  // MARK: Running

  mutating func run(steps: Int) throws(Broken) {
    try perform(coordinator.start(at: instant))
    addMember()
    for _ in 0..<steps { try takeStep() }
    try comeToRest()
  }

  private mutating func takeStep() throws(Broken) {
    let at = random.below(members.count)
    switch random.below(100) {
    case 0..<22: for _ in 0..<2 { try deliverToMember(at) }
    case 22..<40: for _ in 0..<2 { try deliverToBroker(at) }
    case 40..<52: pump(at)
    case 52..<80: if !members[at].isStopped { try work(at) }
    case 80..<92: try pass(milliseconds: random.chance(4) ? random.below(25_000) : random.below(400))
    case 92..<95: logs[random.below(logs.count)] += Int64(random.below(8))
    default: try trouble(at)
    }
    try connect()
  }

  private mutating func trouble(_ at: Int) throws(Broken) {
    switch random.below(11) {
    case 0...2: try breakStream(at)
    case 3: members[at].isStopped.toggle()
    case 4: if members.count < 5 { addMember() }
    case 5:
      guard members.count > 1, !members[at].isStopped else { return }
      members[at].isClosing = true
      members[at].machine.close(temporarily: false, now: now)
      try perform(at)
    case 6...7: send(SubscribeResponse(goAway: GoAway(resume: true)), to: at)
    case 8...9: failPartition(at)
    default: for at in members.indices { members[at].isStopped = false }
    }
  }

  private mutating func connect() throws(Broken) {
    for at in members.indices where members[at].edge == nil && !members[at].isStopped {
      guard !members[at].machine.isOver else { continue }
      if isQuiet || random.chance(20) {
        open(at)
        try perform(at)
      }
    }
  }

  mutating func pass(milliseconds: Int) throws(Broken) {
    now += Int64(milliseconds) * 1_000_000
    try handle(.timer)
    for at in members.indices where !members[at].isStopped {
      members[at].machine.tick(now: now)
      try perform(at)
      try checkClock(at)
    }
  }

  /// Troubles stop. Everything must be processed and committed by those who are there.
  private mutating func comeToRest() throws(Broken) {
    isQuiet = true
    addMember()
    for at in members.indices {
      members[at].isStopped = false
      try? members[at].machine.resume(nil)
      try perform(at)
    }
    for _ in 0..<400 {
      if isDone { return }
      for at in members.indices {
        try connect()
        for _ in 0..<12 {
          try deliverToBroker(at)
          pump(at)
          try deliverToMember(at)
          for _ in 0..<4 { try work(at) }
        }
      }
      try pass(milliseconds: 150)
    }
    throw Broken(
      "progress: committed \((0..<Self.partitions).map(committed)) of \(logs); "
        + members.map { "\($0.index): \($0.machine.phase) \($0.machine.owned)" }.joined(separator: ", "))
  }

  private var isDone: Bool {
    (0..<Self.partitions).allSatisfy { committed($0) == logs[Int($0)] || isSoughtToItsEnd($0) }
      && members.allSatisfy { !$0.isClosing || $0.machine.isOver }
  }

  /// A seek commits nothing by itself.
  private func isSoughtToItsEnd(_ partition: Int32) -> Bool {
    members.contains { member in
      guard let at = member.machine.index[ConsumedPartition("t", partition)],
        let slot = member.machine.slots[at]
      else { return false }
      return slot.processed == nil && slot.generation > 0 && slot.position?.offset == logs[Int(partition)]
    }
  }
}
