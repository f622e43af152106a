import SkeinCore
import Testing
import Wire

@testable import SkeinClient

/// Commits, steering, failures of single partitions, concurrent handlers.
@Suite struct ConsumerCommitTests {
  // MARK: Commits

  @Test func anAutomaticCommitCoversWhatIsProcessedAndNothingElse() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    let (lease, _, _) = try #require(h.chunk())
    for offset in Int64(0)..<3 {
      let inHand = offset == 0 ? nil : offset
      #expect(h.step(lease, processed: inHand, taking: offset + 1))
    }
    h.pass(milliseconds: 1_000)
    let commit = try #require(h.commits().first)
    #expect(commit.offsetList == [2], "record 2 is in hand")
    h.pass(milliseconds: 1_000)
    #expect(h.commits().isEmpty, "one at a time, and only news")
    h.answer(commit.id)
    h.pass(milliseconds: 1_000)
    #expect(h.commits().isEmpty)
  }

  @Test func callersShareACommit() throws {
    let h = ConsumerHarness { $0.commitInterval = nil }
    h.join([0, 1])
    try h.records(0..<5)
    try h.records(0..<3, of: 1)
    _ = h.process()
    try h.commit(.processed, waiter: 1)
    let first = try #require(h.commits().first)
    _ = h.process()
    try h.commit(.processed, waiter: 2)
    try h.commit(.record(h.p(1), offset: 1), waiter: 3)
    #expect(h.commits().isEmpty)
    h.answer(first.id)
    let second = try #require(h.commits().first)
    #expect(second.offsetList == [3])
    h.drain()
    #expect(h.settled[1] == "OK" && h.settled[2] == nil)
    h.answer(second.id)
    h.drain()
    #expect(h.settled[2] == "OK" && h.settled[3] == "OK")
  }

  @Test func whatIsRefusedForNowIsTriedAgainAndWhatIsRefusedIsTold() throws {
    let h = ConsumerHarness { $0.commitInterval = nil }
    h.join([0, 1])
    for partition in [0, 1] as [Int32] {
      try h.records(0..<5, of: partition)
      _ = h.process()
    }
    try h.commit(.processed, waiter: 1)
    let commit = try #require(h.commits().first)
    let away = Fault(.offsetStoreUnavailable, "down")
    h.answer(commit.id, commit.offsets.map { $0.partition == 0 ? away : Fault(.notAssigned, "no") })
    h.drain()
    #expect(h.settled.isEmpty)
    h.pass(milliseconds: 100)
    #expect(h.commits().isEmpty)
    h.pass(milliseconds: 100)
    let again = try #require(h.commits().first)
    #expect(again.offsets.map(\.partition) == [0])
    h.answer(again.id)
    h.drain()
    #expect(h.settled[1] == "NOT_ASSIGNED")
  }

  @Test func whoWaitsTooLongIsToldWhatIsTheMatter() throws {
    let h = ConsumerHarness { $0.commitPatience = 1_000_000_000 }
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    try h.commit(.processed, waiter: 1)
    h.answer(1, [Fault(.offsetStoreUnavailable, "down")])
    h.pass(milliseconds: 1_000)
    h.drain()
    #expect(h.settled[1] == "OFFSET_STORE_UNAVAILABLE")
  }

  @Test func aCommitNeverGoesBack() throws {
    let h = ConsumerHarness { $0.commitInterval = nil }
    h.join([0])
    try h.records(0..<9)
    _ = h.process()
    try h.commit(.offsets([h.p(0): ReadPosition(offset: 8)], metadata: "m"), waiter: 1)
    let commit = try #require(h.commits().first)
    #expect(commit.offsets.first?.metadata == "m")
    h.answer(commit.id)
    #expect(throws: SkeinError.self) {
      try h.commit(.offsets([h.p(0): ReadPosition(offset: 7)], metadata: ""), waiter: 2)
    }
    try h.commit(.record(h.p(0), offset: 3), waiter: 3)
    h.drain()
    #expect(h.settled[3] == "OK" && h.commits().isEmpty, "more is committed already")
    #expect(throws: SkeinError.self) { try h.commit(.record(h.p(5), offset: 3), waiter: 4) }
  }

  @Test func aCommitBehindIsForgotten() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    h.pass(milliseconds: 1_000)
    let commit = try #require(h.commits().first)
    h.answer(commit.id, [Fault(.commitBehind, "", metadata: ["committed": "30"])])
    h.pass(milliseconds: 1_000)
    #expect(h.commits().isEmpty && h.failedCommits.isEmpty)
    try h.records(5..<40)
    _ = h.process()
    h.pass(milliseconds: 1_000)
    #expect(h.commits().map(\.offsetList) == [[40]])
  }

  @Test func aFailureForWhichNobodyWaitsIsTold() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    h.pass(milliseconds: 1_000)
    h.answer(try #require(h.commits().first).id, [Fault(.staleMemberEpoch, "")])
    h.drain()
    #expect(h.failedCommits.map(\.1.reason) == ["STALE_MEMBER_EPOCH"])
  }

  @Test func whoWaitsHearsThatThePartitionIsLost() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    try h.commit(.processed, waiter: 1)
    h.machine.streamLost(now: h.now)
    h.machine.fenced(SkeinError(.memberExpired, ""))
    h.drain()
    #expect(h.settled[1] == "MEMBER_EXPIRED")
  }

  // MARK: Loops

  @Test func aLoopThatIsLeftGivesBackWhatIsNotProcessed() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    try h.records(5..<9)
    let (lease, _, chunk) = try #require(h.chunk())
    #expect(h.step(lease, taking: 1))
    #expect(
      h.step(lease, processed: 1, taking: 2))
    h.machine.abandon(lease, chunk, from: 1, now: h.now)
    #expect(h.process()?.offsets == 1..<5)
    #expect(h.process()?.offsets == 5..<9)
  }

  @Test func aPartitionIsTakenByOneAtATime() throws {
    let h = ConsumerHarness()
    h.join([0, 1])
    try h.records(0..<5)
    try h.records(5..<9)
    try h.records(0..<2, of: 1)
    let (first, _, _) = try #require(h.chunk())
    let second = try #require(h.chunk())
    #expect(second.2.partition == 1)
    #expect(h.chunk() == nil)
    h.machine.finish(first, upTo: ReadPosition(offset: 5), now: h.now)
    #expect(h.chunk()?.offsets == 5..<9)
  }

  // MARK: Steering

  @Test func aPausedPartitionGoesOnAfterWhatWasTaken() throws {
    let h = ConsumerHarness()
    h.join([0, 1])
    try h.records(0..<5)
    try h.records(5..<9)
    #expect(h.process()?.offsets == 0..<5)
    _ = h.take()
    try h.machine.pause([h.p(0)])
    #expect(h.take().compactMap(\.pause).first?.pause.first?.partitions == [0])
    #expect(h.chunk() == nil)
    try h.records(9..<12)
    try h.records(0..<3, of: 1)
    #expect(h.process()?.offsets == 0..<3, "others go on")
    try h.machine.resume(nil)
    let sent = h.take()
    #expect(sent.compactMap(\.seek).map(\.offset) == [5])
    #expect(sent.compactMap(\.pause).first?.resume.first?.partitions == [0])
    try h.records(12..<15)
    #expect(h.chunk() == nil, "from before the seek")
    try h.records(5..<9, seek: 1)
    #expect(h.process()?.offsets == 5..<9)
  }

  @Test func whatIsInHandWhenItIsPausedCountsAndIsNotRepeated() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    let (lease, _, chunk) = try #require(h.chunk())
    #expect(h.step(lease, taking: 1))
    try h.machine.pause(nil)
    try h.machine.resume(nil)
    #expect(
      !h.step(lease, processed: 1, taking: 2))
    h.machine.abandon(lease, chunk, from: 1, now: h.now)
    #expect(h.take().compactMap(\.seek).map(\.offset) == [1])
    try h.records(1..<5, seek: 1)
    #expect(h.process()?.offsets == 1..<5)
  }

  /// Found by the simulation: the record in hand was neither processed nor sent again, and then committed.
  @Test func aLoopThatIsLeftWhileItIsPausedLosesNothing() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    let (lease, _, chunk) = try #require(h.chunk())
    #expect(h.step(lease, taking: 1))
    #expect(h.step(lease, processed: 1, taking: 2))
    try h.machine.pause(nil)
    h.machine.abandon(lease, chunk, from: 1, now: h.now)
    try h.machine.resume(nil)
    #expect(h.take().compactMap(\.seek).map(\.offset) == [1])
    let (second, _, again) = try {
      try h.records(1..<5, seek: 1); return try #require(h.chunk())
    }()
    #expect(h.step(second, taking: 2))
    try h.machine.pause(nil)
    try h.machine.resume(nil)
    h.machine.abandon(second, again, from: 1, now: h.now)
    #expect(h.take().compactMap(\.seek).map(\.offset) == [2, 1])
  }

  @Test func aSeekDropsWhatIsInHandAndOnItsWay() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    try h.records(5..<9)
    let (lease, _, _) = try #require(h.chunk())
    #expect(h.step(lease, taking: 1))
    try h.machine.seek([h.p(0): ReadPosition(offset: 2)])
    #expect(!h.step(lease, processed: 1, taking: 2))
    h.machine.finish(lease, upTo: nil, now: h.now)
    try h.records(9..<12)
    #expect(h.chunk() == nil)
    h.pass(milliseconds: 1_000)
    #expect(h.commits().isEmpty, "nothing is processed since the seek")
    try h.records(0..<9, from: 2, seek: 1)
    #expect(h.process()?.offsets == 2..<9)
  }

  @Test func aSeekBetweenStreamsIsWhereTheNextOneBegins() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    h.machine.streamLost(now: h.now)
    try h.machine.seek([h.p(0): ReadPosition(offset: 2)])
    _ = h.take()
    h.machine.opened(now: h.now)
    #expect(h.take().first?.join?.resume?.positions.map(\.offset) == [2])
    // And one while it opens is told as soon as it can be; what comes until then is dropped.
    try h.machine.seek([h.p(0): ReadPosition(offset: 1)])
    h.total = .init()
    try h.records(2..<5)
    h.machine.joined(SubscribeJoined(heartbeatMs: 5_000, sessionMs: 45_000), now: h.now)
    #expect(h.take().compactMap(\.seek).map(\.offset) == [1])
    #expect(h.chunk() == nil)
    try h.records(1..<5, seek: 1)
    #expect(h.process()?.offsets == 1..<5)
  }

  @Test func numbersOfSeeksRiseOverGrants() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.machine.seek([h.p(0): ReadPosition(offset: 2)])
    h.assign([], revoke: [0], epoch: 1)
    h.assign([0], epoch: 2)
    try h.machine.seek([h.p(0): ReadPosition(offset: 2)])
    #expect(h.take().compactMap(\.seek).map(\.number) == [1, 2])
  }

  // MARK: Failures

  private let outside = SkeinError(
    .offsetOutOfRange, "", metadata: ["log_start_offset": "40", "high_watermark": "90"])

  @Test func outOfRangeIsToldAfterWhatCameBeforeAndWaitsForASeek() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    h.machine.failed(h.p(0), outside, now: h.now)
    #expect(h.process()?.offsets == 0..<5)
    guard case .failure(let error) = h.next() else {
      Issue.record("nothing was told")
      return
    }
    #expect(error.reason == "OFFSET_OUT_OF_RANGE")
    guard case .nothing = h.next() else {
      Issue.record("told twice")
      return
    }
    try h.machine.seek([h.p(0): ReadPosition(offset: 40)])
    try h.records(40..<42, seek: 1)
    #expect(h.process()?.offsets == 40..<42)
  }

  @Test(arguments: [(OutOfRangePolicy.earliest, Int64(40)), (.latest, 90)])
  func outOfRangeMovesWhereThePolicySays(_ policy: OutOfRangePolicy, to offset: Int64) throws {
    let h = ConsumerHarness { $0.outOfRange = policy }
    h.join([0])
    _ = h.take()
    h.machine.failed(h.p(0), outside, now: h.now)
    #expect(h.take().compactMap(\.seek).map(\.offset) == [offset])
  }

  @Test func whatFailsInPassingIsAskedForAgain() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    h.machine.failed(h.p(0), SkeinError(.overloaded, ""), now: h.now)
    _ = h.take()
    h.pass(milliseconds: 999)
    #expect(h.take().allSatisfy { $0.seek == nil })
    h.pass(milliseconds: 1)
    #expect(h.take().compactMap(\.seek).map(\.offset) == [5])
    #expect(h.process()?.offsets == 0..<5)
  }

  // MARK: Concurrent handlers

  @Test func aCommitCoversWhatIsDoneWithoutAGap() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    let (lease, offsets, _) = try #require(h.chunk(isLoop: false))
    let tickets = try offsets.map { try #require(h.dispatch(lease, $0)) }
    h.machine.dispatched(lease, upTo: ReadPosition(offset: 6), now: h.now)
    for (number, expected) in [(1, nil), (3, nil), (0, 2), (2, 4), (4, 6)] as [(Int, Int64?)] {
      #expect(h.mayBegin(tickets[number]))
      h.machine.ended(tickets[number], isDone: true, now: h.now)
      #expect(h.machine.slots[0]?.processed?.offset == expected, "after \(number)")
    }
  }

  @Test func whatHasNotBegunWhenItIsRevokedIsDropped() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<4)
    let (lease, offsets, _) = try #require(h.chunk(isLoop: false))
    let tickets = try offsets.map { try #require(h.dispatch(lease, $0)) }
    h.machine.dispatched(lease, upTo: ReadPosition(offset: 4), now: h.now)
    #expect(h.mayBegin(tickets[0]))
    _ = h.take()
    h.assign([], revoke: [0], epoch: 1)
    for ticket in tickets.dropFirst() {
      #expect(!h.mayBegin(ticket))
      h.machine.ended(ticket, isDone: false, now: h.now)
    }
    #expect(h.machine.owned == [h.p(0)], "one is at work")
    h.machine.ended(tickets[0], isDone: true, now: h.now)
    let commit = try #require(h.commits().first)
    #expect(commit.offsetList == [1])
    h.answer(commit.id)
    #expect(h.machine.owned.isEmpty)
  }
}
