import GroupCoordination
import SkeinCore
import Testing

/// Every refusal, with its own reason, and that it changes nothing.
@Suite struct RefusalTests {
  private func two() -> GroupDriver {
    var driver = GroupDriver()
    driver.join("m1", session: 1)
    driver.topics(a: 4)
    return driver
  }

  @Test func whatIsNotThereIsNotFound() {
    var driver = GroupDriver()
    #expect(driver.fault(.describe(GroupDriver.key))?.reason == .groupNotFound)
    #expect(driver.fault(.deleteGroup(GroupDriver.key))?.reason == .groupNotFound)
    #expect(driver.fault(.deleteOffsets(GroupDriver.key, []))?.reason == .groupNotFound)
    #expect(
      driver.fault(.fetchOffsets(FetchOffsetsRequest(group: GroupDriver.key)))?.reason == .groupNotFound)
    #expect(driver.log.isEmpty)
  }

  @Test func strangersAreUnknown() {
    var driver = two()
    #expect(driver.heartbeat("m9", session: 9)?.reason == .unknownMember)
    #expect(driver.commit("m9", 0, 1)?.reason == .unknownMember)
    let leave = LeaveRequest(group: GroupDriver.key, memberID: "m9")
    #expect(driver.fault(.leave(leave))?.reason == .unknownMember)
    // Also where there is not even a group: a member that was removed hears the same from an empty group and none.
    let other = Heartbeat(group: GroupKey(tenant: "t", name: "none"), memberID: "m1", epoch: 1)
    #expect(driver.fault(.heartbeat(other, SessionID(1)))?.reason == .unknownMember)
  }

  @Test func epochsOutsideTheMembershipAreStale() {
    var driver = two()
    let now = driver.epoch("m1")
    #expect(driver.commit("m1", 0, 1, epoch: now + 1)?.reason == .staleMemberEpoch)
    #expect(driver.commit("m1", 0, 1, epoch: 0)?.reason == .staleMemberEpoch)
    // In the epoch of its joining it had nothing yet: the item is refused, not the request.
    let fault = driver.commit("m1", 0, 1, epoch: 1)
    #expect(fault?.reason == .staleMemberEpoch && fault?.metadata["first"] == "\(now)")
    #expect(driver.group?.offsets.isEmpty == true)
  }

  @Test func whatIsNotAssignedIsNotCommitted() {
    var driver = two()
    #expect(driver.commit("m1", 7, 1)?.reason == .notAssigned)
    #expect(driver.group?.offsets.isEmpty == true)
  }

  @Test func commitsDoNotGoBack() {
    var driver = two()
    #expect(driver.commit("m1", 0, 10) == nil)
    let fault = driver.commit("m1", 0, 9)
    #expect(fault?.reason == .commitBehind && fault?.metadata["committed"] == "10")
    let appends = driver.appends.count
    #expect(driver.commit("m1", 0, 10) == nil)
    #expect(driver.appends.count == appends, "the same again costs nothing")
    #expect(driver.commit("m1", 0, 11) == nil)
  }

  @Test func impossibleOffsetsAreInvalid() {
    var driver = two()
    #expect(driver.commit("m1", 0, -1)?.reason == .invalidRequest)
    #expect(driver.commit("m1", 0, Offset.limit.rawValue)?.reason == .invalidRequest)
    let long = OffsetCommit(
      partition: GroupDriver.partition(0), offset: .zero,
      metadata: String(repeating: "x", count: GroupLimits.metadataBytes + 1))
    let request = CommitRequest(group: GroupDriver.key, member: ("m1", driver.epoch("m1")), offsets: [long])
    guard case .success(.committed(let results))? = driver.ask(.commit(request)) else {
      Issue.record("refused as a whole")
      return
    }
    #expect(results.first??.reason == .invalidRequest)
    let many = [OffsetCommit](repeating: long, count: GroupLimits.offsetsPerRequest + 1)
    #expect(
      driver.fault(.commit(CommitRequest(group: GroupDriver.key, member: nil, offsets: many)))?.reason
        == .invalidRequest)
  }

  @Test func administrationIsForGroupsWithoutMembers() {
    var driver = two()
    let offset = OffsetCommit(partition: GroupDriver.partition(0), offset: Offset(5))
    #expect(driver.fault(.resetOffsets(GroupDriver.key, [offset], dryRun: true))?.reason == .groupHasMembers)
    #expect(driver.fault(.deleteOffsets(GroupDriver.key, [offset.partition]))?.reason == .groupHasMembers)
    #expect(driver.fault(.deleteGroup(GroupDriver.key))?.reason == .groupHasMembers)
    let commit = CommitRequest(group: GroupDriver.key, member: nil, offsets: [offset])
    #expect(driver.fault(.commit(commit))?.reason == .groupHasMembers)
  }

  @Test func unknownAssignorsNameTheNearest() throws {
    var driver = GroupDriver()
    var join = GroupDriver.join("m1")
    join.assignor = "stiky"
    let fault = driver.fault(.join(join, SessionID(1)))
    #expect(fault?.reason == .unknownAssignor)
    #expect(fault?.message.contains("did you mean `sticky`?") == true)
    #expect(throws: Fault.self) { try Assignor(named: "affinity:") }
    #expect(throws: Fault.self) { try Assignor(named: "affinity") }
    for name in ["sticky", "range", "round-robin", "affinity:zone"] {
      #expect(try Assignor(named: name).name == name)
    }
    #expect(driver.log.isEmpty)
  }

  @Test func aJoinNamesEveryWrongFieldAtOnce() {
    var driver = GroupDriver()
    var join = GroupDriver.join(String(repeating: "m", count: 250), names: ["a/b"], patterns: [""])
    join.processID = ""
    join.instanceID = ""
    join.processing = 1
    join.labels = ["": "x"]
    let fault = driver.fault(.join(join, SessionID(1)))
    #expect(fault?.reason == .invalidRequest)
    #expect(
      fault?.violations.map(\.field) == [
        "member_id", "process_id", "instance_id", "topics", "patterns", "labels", "processing_ms",
      ])
    #expect(driver.fault(.join(GroupDriver.join("m", names: []), SessionID(1)))?.reason == .invalidRequest)
    #expect(driver.log.isEmpty)
  }

  @Test func limitsHaveNames() {
    var configuration = GroupConfiguration()
    configuration.limits.groups = 2
    configuration.limits.groupsPerTenant = 1
    configuration.limits.members = 2
    configuration.limits.subscribedNames = 1
    configuration.limits.subscribedPatterns = 1
    configuration.limits.partitions = 4
    configuration.limits.offsets = 2
    var driver = GroupDriver(configuration)
    func join(_ tenant: String, _ group: String, _ names: [String] = ["a"], _ patterns: [String] = [])
      -> Fault?
    {
      var join = GroupDriver.join("m", names: names, patterns: patterns)
      join.group = GroupKey(tenant: tenant, name: group)
      return driver.fault(.join(join, SessionID(1)))
    }
    #expect(join("t", "g", ["a", "b"])?.metadata["what"] == "topic names in a subscription")
    #expect(join("t", "g", [], ["a", "b"])?.metadata["what"] == "patterns in a subscription")
    #expect(join("t", "g") == nil)
    #expect(join("t", "h")?.metadata["what"] == "groups of a tenant")
    #expect(join("u", "g") == nil)
    let full = join("v", "g")
    #expect(full?.reason == .groupLimit && full?.metadata["what"] == "groups of a coordinator")
    #expect(driver.join("m2", session: 2) == nil)
    #expect(driver.join("m3", session: 3)?.metadata["what"] == "members")
    driver.topics(a: 4)
    driver.topics(a: 5)
    #expect(driver.refusedTopics.map(\.reason) == [.groupLimit])
    #expect(driver.group?.topics.partitionCount == 4, "the group goes on with what it had")
    var empty = GroupDriver(configuration)
    let offsets = (0..<3).map { OffsetCommit(partition: GroupDriver.partition($0), offset: .zero) }
    guard
      case .success(.committed(let results))? = empty.ask(
        .commit(CommitRequest(group: GroupDriver.key, member: nil, offsets: offsets)))
    else {
      Issue.record("refused as a whole")
      return
    }
    #expect(results.map { $0?.reason } == [nil, nil, .groupLimit])
    #expect(empty.fault(.resetOffsets(GroupDriver.key, offsets, dryRun: true))?.reason == .groupLimit)
  }

  @Test func joinsEndLongBeforeTheEpochsDo() {
    var driver = GroupDriver()
    driver.coordinator = GroupCoordinator(leaderEpoch: LeaderEpoch(1))
    driver.coordinator.replay(.epochFloor(.max - 3))
    driver.perform(driver.coordinator.start(at: driver.now))
    #expect(driver.join("m1", session: 1)?.metadata["what"] == "epochs")
    #expect(driver.group == nil)
  }

  @Test func aLiveInstanceIsNotReplaced() {
    var driver = GroupDriver()
    #expect(driver.join("m1", session: 1, instance: "i") == nil)
    let fault = driver.join("m2", session: 2, instance: "i")
    #expect(fault?.reason == .unreleasedInstanceID && fault?.metadata["instance_id"] == "i")
    driver.handle(.streamLost(SessionID(1)))
    #expect(driver.join("m2", session: 3, instance: "i") == nil)
    #expect(driver.member("m1") == nil)
  }

  @Test func whoFailsAgainAndAgainStaysAway() {
    var configuration = GroupConfiguration()
    configuration.times.failures = 2
    var driver = GroupDriver(configuration)
    func fail() -> Fault? {
      var join = GroupDriver.join("m\(driver.log.count)")
      join.processID = "p"
      let fault = driver.fault(.join(join, SessionID(UInt64(driver.log.count))))
      if fault == nil { driver.pass(milliseconds: 45_001) }
      return fault
    }
    #expect(fail() == nil)
    #expect(fail() == nil)
    let first = fail()
    #expect(first?.reason == .memberQuarantined && first?.retryAfterMilliseconds == 10_000)
    // Others are not concerned.
    #expect(driver.join("other", session: 1000) == nil)
    driver.handle(.streamLost(SessionID(1000)))
    driver.pass(milliseconds: 10_001)
    #expect(fail() == nil)
    #expect(fail() == nil)
    #expect(fail()?.retryAfterMilliseconds == 20_000, "twice as long the second time")
    driver.pass(milliseconds: 20_001)
    driver.pass(milliseconds: 400_000)
    #expect(fail() == nil)
    #expect(fail() == nil)
    #expect(fail()?.retryAfterMilliseconds == 10_000, "a quiet time forgives")
  }

  @Test func removedMembersAreToldWhy() throws {
    var driver = two()
    #expect(driver.heartbeat("m1", session: 1, progress: .working) == nil)
    for _ in 0..<60 {
      driver.pass(milliseconds: 5_001)
      _ = driver.heartbeat("m1", session: 1, progress: .working)
    }
    guard case .goAway(let fault)? = driver.messages.last?.message else {
      Issue.record("nothing was told")
      return
    }
    #expect(fault.reason == .memberExpired && fault.metadata["cause"] == "processing")
    #expect(driver.member("m1") == nil)
  }

  @Test func aListWithoutWhatWasGivenEndsTheMembership() {
    var driver = two()
    let fault = driver.heartbeat("m1", session: 1, owned: [0, 1, 2])
    #expect(fault?.reason == .memberExpired && fault?.metadata["cause"] == "dropped")
    #expect(driver.member("m1") == nil)
  }

  @Test func beforeTheLogIsReadNobodyIsAnswered() {
    var driver = GroupDriver()
    driver.coordinator = GroupCoordinator(leaderEpoch: LeaderEpoch(2))
    #expect(driver.join("m1", session: 1)?.reason == .coordinatorLoading)
  }

  @Test func afterAFailedAppendNobodyIsAnsweredButWithThat() throws {
    var driver = two()
    driver.isHeld = true
    let token = driver.send(.join(GroupDriver.join("m2"), SessionID(2)))
    #expect(driver.answer(token) == nil)
    // Somebody else's failure is not ours.
    driver.handle(.appendFailed(epoch: LeaderEpoch(0)))
    #expect(driver.answer(token) == nil)
    driver.handle(.appendFailed(epoch: LeaderEpoch(1)))
    guard case .failure(let fault)? = driver.answer(token) else {
      Issue.record("not answered")
      return
    }
    #expect(fault.reason == .notCoordinator && fault.reason.outcome == .unknown)
    #expect(driver.heartbeat("m1", session: 1)?.reason == .notCoordinator)
    driver.handle(.durable(through: 99, epoch: LeaderEpoch(1)))
    #expect(driver.messages.allSatisfy { $0.session == SessionID(1) }, "nothing of what is lost was told")
  }

  @Test func waitingAnswersAreBounded() {
    var configuration = GroupConfiguration()
    configuration.limits.pendingAnswers = 2
    var driver = GroupDriver(configuration)
    driver.isHeld = true
    _ = driver.send(.join(GroupDriver.join("m1"), SessionID(1)))
    let fault = driver.fault(.describe(GroupDriver.key))
    #expect(fault?.reason == .overloaded && fault?.retryAfterMilliseconds != nil)
  }
}
