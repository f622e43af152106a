import SkeinCore
import Testing
import Wire

@testable import SkeinClient

/// What the machine does, promise by promise; all of them at once are in `ConsumerSimulationTests`.
@Suite struct ConsumerMachineTests {
  // MARK: Joining

  @Test func joinsWithANewIDAndRepeatsItUntilItIsAssigned() throws {
    let h = ConsumerHarness()
    h.machine.opened(now: h.now)
    let first = try #require(h.take().first?.join)
    #expect(first.memberID.count == 32 && first.resume == nil && first.topics == ["t"])
    h.machine.streamLost(now: h.now)
    h.machine.opened(now: h.now)
    #expect(h.take().first?.join?.memberID == first.memberID, "a retry is the same join")
    h.machine.streamLost(now: h.now)
    h.machine.fenced(SkeinError(.unknownMember, ""))
    h.machine.opened(now: h.now)
    #expect(h.take().first?.join?.memberID != first.memberID, "a new join has a new id")
  }

  @Test func sendsNoHeartbeatBeforeTheFirstAssignment() {
    let h = ConsumerHarness()
    h.open()
    h.pass(milliseconds: 6_000)
    #expect(h.take().allSatisfy { $0.heartbeat == nil })
    h.assign([0], epoch: 1)
    #expect(h.take().first?.heartbeat?.epoch == 1)
    h.pass(milliseconds: 5_000)
    let beat = h.take().compactMap(\.heartbeat).first
    #expect(beat?.hasOwned == false && beat?.epoch == 1)
  }

  @Test func anAssignmentThatDoesNotComeIsAskedForOnAnotherStream() {
    let h = ConsumerHarness()
    h.open()
    h.pass(milliseconds: 9_000)
    h.drain()
    #expect(h.reconnects == 0)
    h.pass(milliseconds: 1_000)
    h.drain()
    #expect(h.reconnects == 1)
  }

  @Test func theFirstGrantIsSmall() {
    let h = ConsumerHarness()
    h.machine.opened(now: h.now)
    #expect(h.take().first?.credit?.messages == 125)
    h.machine.joined(SubscribeJoined(heartbeatMs: 5_000, sessionMs: 45_000), now: h.now)
    #expect(h.take().compactMap(\.credit).last?.messages == 1000)
  }

  // MARK: Assignments

  @Test func beginsOnlyOnAHigherEpochAndDropsWhatIsInNeitherList() throws {
    let h = ConsumerHarness()
    h.join([0, 1], epoch: 5)
    h.assign([0, 1, 2], epoch: 5)
    #expect(h.machine.owned == [h.p(0), h.p(1)], "the same epoch begins nothing")
    h.assign([0, 1, 2], epoch: 4)
    #expect(h.machine.owned == [h.p(0), h.p(1)], "a lower epoch is not applied")
    h.assign([1], epoch: 5)
    #expect(h.machine.owned == [h.p(1)])
    h.assign([1, 2], epoch: 6)
    #expect(h.machine.owned == [h.p(1), h.p(2)] && h.machine.epoch == 6)
  }

  @Test func anotherJoinEpochDropsEverythingWithoutCommitting() throws {
    let h = ConsumerHarness { $0.callsLost = true }
    h.join([0], epoch: 5)
    try h.records(0..<5)
    _ = h.process()
    h.assign([0], epoch: 9, joinEpoch: 8)
    h.drain()
    #expect(h.calls == [.lost([h.p(0)])])
    #expect(h.machine.slots.compactMap { $0 }.allSatisfy { $0.processed == nil }, "another grant")
    h.pass(milliseconds: 5_000)
    #expect(h.commits().isEmpty)
  }

  @Test func anotherTopicUnderTheSameNameIsAnotherPartition() throws {
    let h = ConsumerHarness()
    h.join([0], epoch: 1)
    try h.records(0..<5)
    h.assign([0], epoch: 2, id: "2")
    #expect(h.chunk() == nil)
    #expect(h.machine.owned == [h.p(0)] && h.machine.slots.compactMap { $0 }.first?.topicID == "2")
  }

  // MARK: Giving back

  @Test func whatIsAtWorkIsWaitedForAndCommittedBeforeItIsGivenBack() throws {
    let h = ConsumerHarness()
    h.join([0, 1])
    try h.records(0..<5)
    try h.records(0..<5, of: 1)
    let (lease, _, _) = try #require(h.chunk())
    #expect(h.step(lease, taking: 1))
    _ = h.take()
    h.assign([1], revoke: [0], epoch: 1)
    h.pass(milliseconds: 1_000)
    #expect(h.take().allSatisfy { $0.heartbeat?.hasOwned != true && $0.commit == nil }, "record 0 is at work")
    #expect(
      !h.step(lease, processed: 1, taking: 2),
      "what it has not begun is dropped")
    h.machine.finish(lease, upTo: nil, now: h.now)
    let commit = try #require(h.commits().first)
    #expect(commit.offsetList == [1])
    #expect(h.machine.owned.contains(h.p(0)), "not before the commit is answered")
    h.answer(commit.id)
    let release = try #require(h.take().first { $0.heartbeat != nil })
    #expect(release.heartbeat?.hasOwned == true)
    #expect(release.heartbeat?.owned == [TopicPartitions(topic: "t", partitions: [1], topicID: "1")])
    #expect(release.reclaimed?.positions.map(\.offset) == [1])
    // The other partition was not interrupted.
    #expect(h.process()?.offsets == 0..<5)
  }

  @Test func theApplicationIsAskedBeforeAndMayCommit() throws {
    let h = ConsumerHarness {
      $0.callsRevoked = true
      $0.commitInterval = nil
    }
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    _ = h.take()
    h.assign([], revoke: [0], epoch: 1)
    h.drain()
    guard case .revoked(let partitions, _)? = h.calls.first else {
      Issue.record("revoked was not called")
      return
    }
    #expect(partitions == [h.p(0)] && h.machine.owned == [h.p(0)])
    try h.commit(.processed, waiter: 7)
    let commit = try #require(h.commits().first)
    h.machine.called(h.calls[0], now: h.now)
    #expect(h.machine.owned == [h.p(0)], "its commit is under way")
    h.answer(commit.id)
    h.drain()
    #expect(h.settled[7] == "OK" && h.machine.owned.isEmpty)
  }

  @Test func aCommitThatIsNotAnsweredDoesNotCostTheMembership() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    h.assign([], revoke: [0], epoch: 1, within: 10_000)
    h.pass(milliseconds: 7_000)
    #expect(!h.machine.owned.isEmpty)
    h.pass(milliseconds: 600)
    #expect(h.machine.owned.isEmpty, "in time for the broker's deadline")
    #expect(h.take().contains { $0.heartbeat?.hasOwned == true && $0.heartbeat?.owned == [] })
  }

  @Test func whatIsToBeGivenBackAndIsNotThereIsSaidAgain() {
    let h = ConsumerHarness()
    h.join([0])
    _ = h.take()
    h.assign([0], revoke: [1], epoch: 1)
    #expect(h.take().contains { $0.heartbeat?.hasOwned == true && $0.heartbeat?.epoch == 1 })
  }

  @Test func nothingIsDeliveredBeforeAssignedHasReturned() throws {
    let h = ConsumerHarness { $0.callsAssigned = true }
    h.join([0])
    try h.records(0..<5)
    #expect(h.chunk() == nil)
    h.drain()
    try h.machine.seek([h.p(0): ReadPosition(offset: 3)])
    h.machine.called(try #require(h.calls.first), now: h.now)
    #expect(h.chunk() == nil, "what came before the seek is dropped")
    try h.records(0..<5, from: 3, seek: 1)
    #expect(h.process()?.offsets == 3..<5)
  }

  // MARK: Being lost

  @Test func aFencedMemberDropsEverythingWithoutCommittingAndJoinsAnew() throws {
    let h = ConsumerHarness { $0.callsLost = true }
    h.join([0])
    try h.records(0..<5)
    try h.records(5..<9)
    _ = h.process()
    let id = h.machine.memberID
    let (lease, _, _) = try #require(h.chunk())
    h.machine.streamLost(now: h.now)
    h.machine.fenced(SkeinError(.memberExpired, ""))
    h.drain()
    #expect(h.calls == [.lost([h.p(0)])])
    #expect(!h.step(lease, processed: 6, taking: nil))
    h.open()
    #expect(h.machine.memberID != id)
    h.assign([0], epoch: 7, joinEpoch: 7)
    h.pass(milliseconds: 2_000)
    #expect(h.commits().isEmpty)
  }

  @Test func stopsByItsOwnClockWhenTheBrokerIsNotHeard() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    let (lease, _, _) = try #require(h.chunk())
    h.now += 45_000_000_000
    #expect(h.step(lease, taking: 1))
    h.now += 1
    // A process that was stopped wakes up: not one record more, whatever waits in its socket.
    #expect(
      !h.step(lease, processed: 1, taking: 2))
    #expect(h.machine.owned.isEmpty)
    h.drain()
    #expect(h.reconnects == 1)
    #expect(!h.heard(), "what was sent before is not read")
  }

  @Test func whatIsHeardLateDoesNotReviveIt() throws {
    let h = ConsumerHarness()
    h.join([0])
    h.now += 46_000_000_000
    #expect(!h.heard())
    #expect(h.machine.owned.isEmpty)
  }

  // MARK: Streams

  @Test func aNewStreamGoesOnWithoutAGapOrARepeat() throws {
    let h = ConsumerHarness()
    h.join([0, 1], epoch: 3)
    try h.records(0..<5)
    try h.records(5..<8)
    #expect(h.process()?.offsets == 0..<5)
    h.machine.streamLost(now: h.now)
    _ = h.take()
    h.machine.opened(now: h.now)
    let resume = try #require(h.take().first?.join?.resume)
    #expect(resume.epoch == 3)
    #expect(resume.positions.map(\.partition) == [0, 1] && resume.positions.map(\.offset) == [8, -1])
    h.total = .init()
    h.machine.joined(SubscribeJoined(heartbeatMs: 5_000, sessionMs: 45_000), now: h.now)
    let beat = try #require(h.take().compactMap(\.heartbeat).first)
    #expect(beat.hasOwned && beat.epoch == 3)
    // The batch that begins before it is cut.
    try h.records(4..<10, from: 8)
    #expect(h.process()?.offsets == 5..<8)
    #expect(h.process()?.offsets == 8..<10)
  }

  @Test func whereTheGroupStandsInsideABatchIsWhereItBegins() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<10, from: 7)
    #expect(h.process()?.offsets == 7..<10)
  }

  @Test func aCommitThatTheStreamTookAlongIsRepeated() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    try h.commit(.processed, waiter: 1)
    #expect(h.commits().map(\.offsetList) == [[5]])
    h.machine.streamLost(now: h.now)
    h.open()
    let again = try #require(h.commits().first)
    #expect(again.offsetList == [5])
    h.drain()
    #expect(h.settled.isEmpty)
    h.answer(again.id)
    h.drain()
    #expect(h.settled[1] == "OK")
  }

  @Test func absurdTotalsAndOffsetsAreNotBelieved() {
    for read in [
      ReadBatches(topic: "t", nextOffset: 5, totalMessages: .max, totalBytes: 10),
      ReadBatches(topic: "t", nextOffset: 5, totalMessages: 1, totalBytes: 1 << 40),
      ReadBatches(topic: "t", nextOffset: .max, totalMessages: 1, totalBytes: 10),
      ReadBatches(topic: "t", baseOffset: -3, nextOffset: 5, totalMessages: 1, totalBytes: 10),
      ReadBatches(topic: "t", nextOffset: 5, totalMessages: 1, totalBytes: 10, fromOffset: -9),
    ] {
      let h = ConsumerHarness()
      h.join([0])
      #expect(throws: SkeinError.self) { try h.machine.arrived(read, bytes: .empty, now: h.now) }
    }
  }

  @Test func theBrokersTimesAreTakenWithinReason() {
    let h = ConsumerHarness()
    h.machine.opened(now: h.now)
    h.machine.joined(SubscribeJoined(heartbeatMs: -5, sessionMs: .max), now: h.now)
    #expect(h.machine.heartbeatInterval == 100_000_000 && h.machine.session == 3_600_000_000_000)
    h.assign([0], epoch: 1, within: .max)
    h.assign([], revoke: [0], epoch: 1, within: .min)
  }

  // MARK: Leaving

  @Test func leavesAfterTheLastCommit() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    try h.records(5..<9)
    _ = h.process()
    let (lease, _, _) = try #require(h.chunk())
    #expect(h.step(lease, taking: 6))
    h.machine.close(temporarily: false, now: h.now)
    let commit = try #require(h.commits().first)
    #expect(commit.offsetList == [5], "the record in the loop's hand is not processed")
    guard case .end = h.next() else {
      Issue.record("delivered while closing")
      return
    }
    h.answer(commit.id)
    #expect(h.take().last?.leave?.temporary == false)
    #expect(h.ends == 1)
    h.machine.streamLost(now: h.now)
    #expect(h.machine.isOver)
  }

  @Test func handlersAreWaitedForWhenItLeaves() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    let (lease, _, _) = try #require(h.chunk(isLoop: false))
    h.machine.close(temporarily: true, now: h.now)
    #expect(h.take().allSatisfy { $0.leave == nil })
    #expect(!h.step(lease, processed: 1, taking: 2))
    h.machine.finish(lease, upTo: nil, now: h.now)
    let commit = try #require(h.commits().first)
    h.answer(commit.id)
    #expect(h.take().last?.leave?.temporary == true)
  }

  @Test func aCloseThatNobodyAnswersEnds() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    h.machine.close(temporarily: false, now: h.now)
    h.pass(milliseconds: 9_900)
    #expect(!h.machine.isOver)
    h.pass(milliseconds: 100)
    #expect(h.machine.isOver)
  }

  @Test func whoHasNothingToCommitAndNoStreamIsGoneAtOnce() {
    let h = ConsumerHarness()
    h.join([0])
    h.machine.streamLost(now: h.now)
    h.machine.close(temporarily: false, now: h.now)
    #expect(h.machine.isOver)
  }

  @Test func aBrokerThatGoesGetsTheCommitFirst() throws {
    let h = ConsumerHarness()
    h.join([0])
    try h.records(0..<5)
    _ = h.process()
    _ = h.take()
    h.machine.drain(now: h.now)
    let commit = try #require(h.commits().first)
    #expect(h.ends == 0)
    h.answer(commit.id)
    h.drain()
    #expect(h.ends == 1 && h.machine.owned == [h.p(0)])
  }

  // MARK: Progress

  @Test func progressSaysWhatTheApplicationDoes() throws {
    let h = ConsumerHarness()
    h.join([0])
    func beat() -> Progress? {
      h.pass(milliseconds: 5_000)
      _ = h.heard()
      return h.take().compactMap(\.heartbeat).last?.progress
    }
    #expect(beat() == .idle)
    try h.records(0..<5)
    #expect(beat() == .working, "it could have taken something")
    let (lease, _, _) = try #require(h.chunk())
    #expect(beat() == .advanced)
    #expect(beat() == .working)
    h.machine.extend(now: h.now)
    #expect(h.take().compactMap(\.heartbeat).last?.progress == .advanced, "at once")
    #expect(h.step(lease, taking: 1))
    #expect(h.step(lease, processed: 1, taking: 2))
    #expect(beat() == .advanced)
    h.machine.finish(lease, upTo: ReadPosition(offset: 5), now: h.now)
    #expect(beat() == .idle)
  }

  @Test func aShortDeadlineMeansMoreHeartbeats() {
    let h = ConsumerHarness { $0.processingMilliseconds = 1_500 }
    h.join([0])
    _ = h.take()
    h.pass(milliseconds: 500)
    #expect(h.take().contains { $0.heartbeat != nil })
  }

  // MARK: Credits

  @Test func whatIsDroppedIsGrantedAgain() throws {
    let h = ConsumerHarness { $0.window = .init(records: 100, bytes: 1000) }
    h.join([0, 1])
    try h.records(0..<60)
    try h.records(0..<40, of: 1)
    #expect(h.take().compactMap(\.credit).last?.messages == 100)
    h.assign([1], revoke: [0], epoch: 1)
    #expect(h.take().compactMap(\.credit).last?.messages == 160, "clawed back")
    try h.machine.seek([h.p(1): ReadPosition(offset: 5)])
    #expect(h.take().compactMap(\.credit).last?.messages == 200)
  }

  @Test func lagIsOfThePartitionsThatItHas() {
    let h = ConsumerHarness()
    h.join([0])
    h.machine.told([
      PartitionLag(
        topic: "t", partition: 0, committedOffset: -1, highWatermark: 9, records: 9, milliseconds: 1_500),
      PartitionLag(topic: "t", partition: 1, records: 5),
    ])
    #expect(
      h.machine.lag == [
        h.p(0): ConsumerLag(
          committedOffset: nil, highWatermark: 9, records: 9, time: .milliseconds(1_500))
      ])
  }
}
