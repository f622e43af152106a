import GroupCoordination
import SkeinCore
import Wire

@testable import SkeinClient

/// A process with a machine, and an application that takes, processes, seeks and forgets.
struct SimulatedConsumer {
  struct Hold {
    let lease: ConsumerLease
    let chunk: ReceivedChunk
    var next: Int64
    var inHand: Int64?
    let isLoop: Bool
  }

  struct Handed {
    let ticket: RecordTicket
    let partition: Int32
    var isBegun = false
  }

  let index: Int
  var machine: ConsumerMachine
  var edge: ConsumerWorld.Edge?
  var isConnected = false
  /// The process does not run (SIGSTOP); its stream stays.
  var isStopped = false
  var isClosing = false
  var hasEnded = false
  var heardAt: Int64
  var holds: [Hold] = []
  var handed: [Handed] = []
  /// Delivered to loops that acknowledge.
  var unacknowledged: [(partition: Int32, offset: Int64)] = []
  var calls: [ConsumerMachine.Call] = []
  /// What must come next, by grant; missing: where the group stands.
  var expected: [UInt64: Int64] = [:]
  var lastWaiter: UInt64 = 0
}

extension ConsumerWorld {
  mutating func addMember() {
    var options = ConsumerMachine.Options(group: "g")
    options.processID = "p\(members.count)"
    options.window = .init(records: 40, bytes: 40)
    options.processingMilliseconds = 5_000
    options.commitInterval = isManual ? nil : 300_000_000
    options.callsAssigned = random.chance(50)
    options.callsRevoked = random.chance(50)
    options.acknowledges = acknowledges
    options.maxPending = 12
    options.closeTimeout = 5_000_000_000
    members.append(
      SimulatedConsumer(
        index: members.count,
        machine: ConsumerMachine(
          options: options, topics: ["t"], patterns: [], random: SeededRandom(random.next())),
        heardAt: now))
  }

  // MARK: Streams

  mutating func open(_ at: Int) {
    nextSession += 1
    members[at].edge = Edge(session: SessionID(nextSession))
    members[at].isConnected = true
    members[at].machine.opened(now: now)
  }

  /// The stream is gone on both sides; the broker may still have got the beginning of what was on its way.
  mutating func breakStream(_ at: Int) throws(Broken) {
    guard members[at].edge != nil else { return }
    let count = members[at].edge?.toBroker.count ?? 0
    for _ in 0..<random.below(count + 1) { try deliverToBroker(at) }
    close(at, .connectionLost)
    try streamEnded(at, nil)
  }

  mutating func streamEnded(_ at: Int, _ reason: Reason?) throws(Broken) {
    members[at].edge = nil
    members[at].isConnected = false
    members[at].machine.streamLost(now: now)
    if let reason, [.memberExpired, .unknownMember, .staleMemberEpoch].contains(reason) {
      fences += 1
      members[at].machine.fenced(SkeinError(reason, "fenced"))
    }
    try perform(at)
  }

  mutating func deliverToBroker(_ at: Int) throws(Broken) {
    guard members[at].edge?.toBroker.isEmpty == false, let request = members[at].edge?.toBroker.removeFirst()
    else { return }
    try receive(request, from: at)
  }

  mutating func deliverToMember(_ at: Int) throws(Broken) {
    guard let edge = members[at].edge, !members[at].isStopped else { return }
    guard let message = edge.toMember.first else {
      if let end = edge.end { try streamEnded(at, end.reason) }
      return
    }
    members[at].edge?.toMember.removeFirst()
    guard members[at].machine.heard(now: now) else { return try perform(at) }
    members[at].heardAt = now
    if let joined = message.joined { members[at].machine.joined(joined, now: now) }
    if let assignment = message.assignment { members[at].machine.assigned(assignment, now: now) }
    if let read = message.read {
      do throws(SkeinError) {
        try members[at].machine.arrived(read, bytes: .empty, now: now)
      } catch { throw Broken("an honest broker is not believed: \(error)") }
    }
    if let failure = message.error, let status = failure.error {
      members[at].machine.failed(
        ConsumedPartition("t", failure.partition), SkeinError(Fault(status)), now: now)
    }
    if let results = message.committed { members[at].machine.committed(results, now: now) }
    if message.goAway != nil { members[at].machine.drain(now: now) }
    try perform(at)
  }

  /// What the machine wants.
  mutating func perform(_ at: Int) throws(Broken) {
    for effect in members[at].machine.takeEffects() {
      switch effect {
      case .send(let request):
        if let commit = request.commit { try checkCommit(commit, by: at) }
        if members[at].edge?.isOver == false { members[at].edge?.toBroker.append(request) }
      case .reconnect: if members[at].edge != nil { try breakStream(at) }
      case .sendEnd: members[at].hasEnded = true
      case .call(let call): members[at].calls.append(call)
      case .settled(_, let error): try checkSettled(error, at)
      case .commitFailed, .reset, .committed, .fenced: break
      }
    }
    if members[at].hasEnded, members[at].edge != nil, members[at].machine.phase != .leaving {
      // A drain: the broker ends it when it has seen everything.
      members[at].hasEnded = false
      while members[at].edge?.toBroker.isEmpty == false { try deliverToBroker(at) }
      close(at, nil)
    }
    try checkWindow(at)
  }

  // MARK: The application

  mutating func work(_ at: Int) throws(Broken) {
    switch random.below(isQuiet ? 60 : 100) {
    case 0..<14: try take(at, isLoop: true)
    case 14..<18: try take(at, isLoop: false)
    case 18..<40: try stepAll(at)
    case 40..<48:
      try handlers(at)
      acknowledge(at)
    case 48..<56: answerCall(at)
    case 56..<60: if isManual { try commit(at) }
    case 60..<68: try abandon(at)
    case 68..<75: try seek(at)
    case 75..<82: try? members[at].machine.pause(random.chance(50) ? nil : someOf(at))
    case 82..<96: try? members[at].machine.resume(nil)
    default: members[at].machine.extend(now: now)
    }
    try perform(at)
  }

  private func someOf(_ at: Int) -> [ConsumedPartition] {
    let owned = members[at].machine.owned
    return owned.isEmpty ? [] : [owned[random.below(owned.count)]]
  }

  mutating func take(_ at: Int, isLoop: Bool) throws(Broken) {
    guard members[at].holds.count < 3,
      case .chunk(let lease, let chunk) = members[at].machine.take(isLoop: isLoop, now: now)
    else { return }
    members[at].holds.append(
      .init(lease: lease, chunk: chunk, next: chunk.visible.lowerBound, inHand: nil, isLoop: isLoop))
    if !isLoop, random.chance(60) { try dispatch(at) }
  }

  mutating func stepAll(_ at: Int) throws(Broken) {
    for number in members[at].holds.indices.reversed() { try step(at, number) }
  }

  private mutating func step(_ at: Int, _ number: Int) throws(Broken) {
    let hold = members[at].holds[number]
    if let inHand = hold.inHand { processed[Int(hold.chunk.partition)].insert(inHand) }
    let done = hold.inHand.map { ReadPosition(offset: $0 + 1) }
    guard hold.next < hold.chunk.nextOffset else {
      members[at].holds.remove(at: number)
      let end = ReadPosition(offset: hold.chunk.nextOffset)
      members[at].machine.finish(hold.lease, upTo: end, now: now)
      return
    }
    if members[at].machine.step(
      hold.lease, processed: done, taking: ReadPosition(offset: hold.next + 1), now: now)
    {
      try delivered(hold.next, hold.lease.grant, hold.chunk.partition, at)
      if acknowledges, hold.isLoop {
        members[at].unacknowledged.append((hold.chunk.partition, hold.next))
      } else {
        members[at].holds[number].inHand = hold.next
      }
      members[at].holds[number].next += 1
    } else {
      members[at].holds.remove(at: number)
      members[at].machine.finish(hold.lease, upTo: nil, now: now)
    }
  }

  /// Hands the newest chunk to concurrent handlers.
  private mutating func dispatch(_ at: Int) throws(Broken) {
    guard let hold = members[at].holds.popLast() else { return }
    for offset in hold.chunk.visible.lowerBound..<hold.chunk.nextOffset {
      guard let ticket = members[at].machine.dispatch(hold.lease, offset: offset, epoch: 1, now: now) else {
        return members[at].machine.finish(hold.lease, upTo: nil, now: now)
      }
      try delivered(offset, hold.lease.grant, hold.chunk.partition, at)
      members[at].handed.append(.init(ticket: ticket, partition: hold.chunk.partition))
    }
    members[at].machine.dispatched(
      hold.lease, upTo: ReadPosition(offset: hold.chunk.nextOffset), now: now)
  }

  private mutating func handlers(_ at: Int) throws(Broken) {
    for _ in 0..<3 where !members[at].handed.isEmpty {
      let number = random.below(members[at].handed.count)
      let handed = members[at].handed[number]
      if handed.isBegun {
        processed[Int(handed.partition)].insert(handed.ticket.offset)
        members[at].handed.remove(at: number)
        members[at].machine.ended(handed.ticket, isDone: true, now: now)
      } else if members[at].machine.mayBegin(handed.ticket, now: now) {
        try checkOwner(handed.partition, at)
        members[at].handed[number].isBegun = true
      } else {
        members[at].handed.remove(at: number)
        members[at].machine.ended(handed.ticket, isDone: false, now: now)
      }
    }
  }

  private mutating func acknowledge(_ at: Int) {
    for _ in 0..<4 where !members[at].unacknowledged.isEmpty {
      let (partition, offset) = members[at].unacknowledged.remove(
        at: random.below(members[at].unacknowledged.count))
      processed[Int(partition)].insert(offset)
      _ = members[at].machine.acknowledge(ConsumedPartition("t", partition), offset, now: now)
    }
  }

  private mutating func answerCall(_ at: Int) {
    guard !members[at].calls.isEmpty else { return }
    members[at].machine.called(members[at].calls.removeFirst(), now: now)
  }

  private mutating func commit(_ at: Int) throws(Broken) {
    members[at].lastWaiter += 1
    let waiter = members[at].lastWaiter
    do throws(SkeinError) {
      if let hold = members[at].holds.last, let inHand = hold.inHand, random.chance(40),
        members[at].machine.slot(hold.lease.slot, hold.lease.grant) != nil,
        members[at].machine.slots[hold.lease.slot]?.generation == hold.lease.generation
      {
        // Earlier ones of the same partition may be at concurrent handlers, or not acknowledged: it would be a lie.
        guard members[at].handed.allSatisfy({ $0.partition != hold.chunk.partition }),
          members[at].unacknowledged.allSatisfy({ $0.partition != hold.chunk.partition })
        else { return }
        // The application says so.
        processed[Int(hold.chunk.partition)].insert(inHand)
        try members[at].machine.commit(
          .record(ConsumedPartition("t", hold.chunk.partition), offset: inHand), waiter: waiter, now: now)
      } else {
        try members[at].machine.commit(.processed, waiter: waiter, now: now)
      }
    } catch { throw Broken("a commit was refused at once: \(error)") }
  }

  private mutating func abandon(_ at: Int) throws(Broken) {
    guard let number = members[at].holds.indices.last, members[at].holds[number].isLoop else { return }
    let hold = members[at].holds.remove(at: number)
    let grant = hold.lease.grant
    if members[at].machine.slots[hold.lease.slot]?.lease == hold.lease.id,
      members[at].machine.slots[hold.lease.slot]?.generation == hold.lease.generation
    {
      members[at].expected[grant] = hold.inHand ?? hold.next
    }
    members[at].machine.abandon(hold.lease, hold.chunk, from: hold.inHand ?? hold.next, now: now)
  }

  private mutating func seek(_ at: Int) throws(Broken) {
    guard let partition = someOf(at).first, let slot = members[at].machine.index[partition],
      let grant = members[at].machine.slots[slot]?.grant
    else { return }
    let target = Int64(random.below(Int(logs[Int(partition.partition)]) + 1))
    do throws(SkeinError) {
      try members[at].machine.seek([partition: ReadPosition(offset: target)])
    } catch { throw Broken("\(error)") }
    members[at].expected[grant] = target
    for offset in 0..<target { waived[Int(partition.partition)].insert(offset) }
  }
}
