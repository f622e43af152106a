import GroupCoordination
import SkeinCore
import Testing

/// Committed offsets, and what operators do with them.
@Suite struct OffsetTests {
  private static let day: Int64 = 24 * 3_600_000

  private func offset(_ partition: Int32, _ offset: Int64, topic: UInt64 = 1) -> OffsetCommit {
    OffsetCommit(
      partition: GroupDriver.partition(partition, topic: topic), offset: Offset(offset), leaderEpoch: 2,
      metadata: "x")
  }

  private func alone(_ offsets: [OffsetCommit]) -> GroupDriver {
    var driver = GroupDriver()
    _ = driver.ask(.commit(CommitRequest(group: GroupDriver.key, member: nil, offsets: offsets)))
    return driver
  }

  private func stored(_ driver: inout GroupDriver, _ partitions: [TopicPartition]? = nil) -> [TopicPartition:
    Int64]
  {
    let request = FetchOffsetsRequest(group: GroupDriver.key, partitions: partitions)
    guard case .success(.offsets(let offsets))? = driver.ask(.fetchOffsets(request)) else { return [:] }
    return offsets.mapValues(\.offset.rawValue)
  }

  @Test func withoutMembersAnybodyCommits() {
    var driver = alone([offset(0, 5), offset(1, 6)])
    #expect(stored(&driver) == [GroupDriver.partition(0): 5, GroupDriver.partition(1): 6])
    #expect(
      stored(&driver, [GroupDriver.partition(1), GroupDriver.partition(9)]) == [GroupDriver.partition(1): 6])
    #expect(
      driver.group?.offsets[GroupDriver.partition(0)]
        == CommittedOffset(offset: Offset(5), leaderEpoch: 2, metadata: "x", committedAt: driver.now.wall))
    guard case .success(.list(let groups))? = driver.ask(.list(tenant: "t")) else {
      Issue.record("not listed")
      return
    }
    #expect(groups.map(\.phase) == [.empty] && groups.map(\.members) == [0])
    guard case .success(.list(let others))? = driver.ask(.list(tenant: "u")) else { return }
    #expect(others.isEmpty, "another tenant sees nothing")
  }

  @Test func aMemberMayCommitUntilItHasReleased() {
    var driver = GroupDriver()
    driver.join("m1", session: 1)
    driver.topics(a: 2)
    let epoch = driver.epoch("m1")
    driver.join("m2", session: 2)
    #expect(driver.revoking("m1") == [1])
    #expect(driver.commit("m1", 1, 8, epoch: epoch) == nil, "the last commit must pass")
    _ = driver.heartbeat("m1", session: 1, owned: [0])
    #expect(driver.commit("m1", 1, 9, epoch: epoch)?.reason == .notAssigned)
    #expect(driver.commit("m2", 1, 9) == nil)
    // Its other partition is its own in every epoch since.
    #expect(driver.commit("m1", 0, 4, epoch: epoch) == nil)
  }

  @Test func whatComesBackIsAnotherGrant() {
    var driver = GroupDriver()
    driver.join("m1", session: 1)
    driver.topics(a: 2)
    let early = driver.epoch("m1")
    driver.join("m2", session: 2)
    _ = driver.heartbeat("m1", session: 1, owned: [0])
    _ = driver.fault(.leave(LeaveRequest(group: GroupDriver.key, memberID: "m2")))
    #expect(driver.assigned("m1") == [0, 1])
    #expect(driver.commit("m1", 1, 3, epoch: early)?.reason == .staleMemberEpoch)
    #expect(driver.commit("m1", 0, 3, epoch: early) == nil)
    #expect(driver.commit("m1", 1, 3) == nil)
  }

  @Test func aMemberReadsWhatIsCommitted() {
    var driver = alone([offset(0, 5)])
    driver.join("m1", session: 1)
    var request = FetchOffsetsRequest(group: GroupDriver.key, member: ("m1", driver.epoch("m1")))
    #expect(driver.fault(.fetchOffsets(request)) == nil)
    request.member = ("m1", driver.epoch("m1") + 1)
    #expect(driver.fault(.fetchOffsets(request))?.reason == .staleMemberEpoch)
    request.member = ("m9", 1)
    #expect(driver.fault(.fetchOffsets(request))?.reason == .unknownMember)
  }

  @Test func aResetGoesAnywhereAndCanBeTried() {
    var driver = alone([offset(0, 5)])
    let records = driver.log.count
    guard
      case .success(.reset(let tried))? = driver.ask(
        .resetOffsets(GroupDriver.key, [offset(0, 1), offset(1, 2)], dryRun: true))
    else {
      Issue.record("refused")
      return
    }
    #expect(tried.map(\.before) == [Offset(5), nil] && tried.map(\.after) == [Offset(1), Offset(2)])
    #expect(driver.log.count == records)
    _ = driver.ask(.resetOffsets(GroupDriver.key, [offset(0, 1), offset(1, 2)], dryRun: false))
    #expect(stored(&driver) == [GroupDriver.partition(0): 1, GroupDriver.partition(1): 2])
    // One that is not there yet begins with it; a dry run does not make it.
    var fresh = GroupDriver()
    _ = fresh.ask(.resetOffsets(GroupDriver.key, [offset(0, 1)], dryRun: true))
    #expect(fresh.group == nil)
    _ = fresh.ask(.resetOffsets(GroupDriver.key, [offset(0, 1)], dryRun: false))
    #expect(stored(&fresh) == [GroupDriver.partition(0): 1])
  }

  @Test func deletingLeavesTombstonesAndAFloorUnderTheEpochs() throws {
    var driver = alone([offset(0, 5), offset(1, 5)])
    driver.join("m1", session: 1)
    let epoch = driver.epoch("m1")
    _ = driver.fault(.leave(LeaveRequest(group: GroupDriver.key, memberID: "m1")))
    guard
      case .success(.deleted(1))? = driver.ask(
        .deleteOffsets(GroupDriver.key, [GroupDriver.partition(0), GroupDriver.partition(7)]))
    else {
      Issue.record("not deleted")
      return
    }
    guard case .success(.deleted(1))? = driver.ask(.deleteGroup(GroupDriver.key)) else {
      Issue.record("not deleted")
      return
    }
    #expect(driver.group == nil)
    // What remains after compaction: the floor, and nothing else.
    var last: [[UInt8]: GroupRecord] = [:]
    for record in driver.log { last[record.key] = record }
    let kept = last.values.filter { !$0.isTombstone }
    #expect(kept == [.epochFloor(driver.coordinator.table.epochFloor)])
    try driver.restart()
    #expect(driver.group == nil)
    driver.join("m1", session: 2)
    #expect(driver.epoch("m1") > epoch, "no epoch comes twice")
  }

  @Test func offsetsOfADeletedTopicGo() {
    var driver = alone((0..<1500).map { offset($0, 1) } + [offset(0, 1, topic: 2)])
    var rounds = 0
    while driver.group?.offsets.count ?? 0 > 1, rounds < 5 {
      driver.handle(.topicDeleted(TopicID(high: 0, low: 1)))
      rounds += 1
    }
    #expect(rounds == 2 && stored(&driver).count == 1)
    #expect(driver.appends.allSatisfy { $0.records.count <= 1503 })
  }

  @Test func onlyTheOffsetsOfEmptyGroupsExpire() {
    var driver = GroupDriver()
    driver.join("m1", session: 1)
    driver.topics(a: 2)
    _ = driver.commit("m1", 0, 5)
    for _ in 0..<20 {
      driver.now.wall += Self.day
      driver.handle(.expireOffsets)
    }
    #expect(stored(&driver).count == 1, "it has a member")
    _ = driver.fault(.leave(LeaveRequest(group: GroupDriver.key, memberID: "m1")))
    driver.now.wall += 6 * Self.day
    driver.handle(.expireOffsets)
    #expect(stored(&driver).count == 1)
    driver.now.wall += 2 * Self.day
    driver.handle(.expireOffsets)
    #expect(driver.group == nil, "and the group with its last one")
  }

  @Test func expiryTakesSmallBites() {
    var driver = alone((0..<2500).map { offset($0, 1) })
    driver.now.wall += 8 * Self.day
    for left in [1500, 500] {
      driver.handle(.expireOffsets)
      #expect(driver.group?.offsets.count == left)
    }
    driver.handle(.expireOffsets)
    #expect(driver.group == nil)
  }
}
