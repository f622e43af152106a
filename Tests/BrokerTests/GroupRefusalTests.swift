import GroupCoordination
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// What bad input of groups gets, over RPC: each mistake its own reason, with what cures it.
@Suite(.serialized) struct GroupRefusalTests {
  @Test func whoseGroupIsNotThereHearsSo() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    let connection = fixture.connection
    let describe = await fault {
      let _: DescribeGroupResponse = try await connection.call(
        GroupsMethod.describe, DescribeGroupRequest(group: "none"))
    }
    let fetch = await fault {
      let _: FetchOffsetsResponse = try await connection.call(
        GroupsMethod.fetchOffsets, Wire.FetchOffsetsRequest(group: "none"))
    }
    let reset = await fault {
      let _: ResetOffsetsResponse = try await connection.call(
        GroupsMethod.resetOffsets, ResetOffsetsRequest(group: "none", topic: "t", place: .earliest(true)))
    }
    let delete = await fault {
      let _: DeleteGroupResponse = try await connection.call(
        GroupsMethod.delete, DeleteGroupRequest(group: "none"))
    }
    let move = try await StreamClient<MoveOffsetsRequest, MoveOffsetsProgress>.open(
      GroupsMethod.moveOffsets, on: connection)
    try await move.send(MoveOffsetsRequest(group: "none", to: "sqlite"))
    try await move.sendEnd()
    for refused in [describe, fetch, reset, delete, try await move.fault()] {
      #expect(refused?.reason == .groupNotFound && refused?.message.contains("skein group list") == true)
      #expect(refused?.metadata["group"] == "none")
    }
    // A store that is not there is another mistake, also for a group that is not there.
    let store = await fault {
      let _: ChooseOffsetStoreResponse = try await connection.call(
        GroupsMethod.chooseOffsetStore, ChooseOffsetStoreRequest(store: "nowhere", group: "none"))
    }
    #expect(store?.reason == .offsetStoreNotFound && store?.metadata["stores"] == "log,sqlite")
    await fixture.end()
  }

  @Test func aMembersCommitsAreJudgedOneByOne() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(5, to: 0..<2)
    let first = try await MemberClient.join(fixture.connection)
    try await first.until { $0.owned.count == 2 }
    let id = try await first.send(commit: [0: 9, 1: 5])
    try await first.until { $0.commits[id] != nil }
    let outside = try #require(first.commits[id]?.results.first { $0.partition == 0 }?.error).asFault
    #expect(outside.reason == .offsetOutOfRange)
    #expect(outside.metadata["log_start_offset"] == "0" && outside.metadata["high_watermark"] == "5")
    #expect(first.commits[id]?.results.first { $0.partition == 1 }?.error?.code ?? 0 == 0)

    // With another member there is something that is not the first's.
    let second = try await MemberClient.open(fixture.connection)
    try await first.until { !$0.revoking.isEmpty }
    try await first.heartbeat(owned: first.owned)
    try await second.until { $0.owned.count == 1 }
    let lost = try #require(second.owned.first)
    let refused = try await first.send(commit: [lost: 5, 1 - lost: 5])
    try await first.until { $0.commits[refused] != nil }
    let results = first.commits[refused]?.results ?? []
    let stranger = try #require(results.first { $0.partition == lost }?.error).asFault
    #expect(stranger.reason == .notAssigned && stranger.metadata["topic"] == "t")
    #expect(stranger.metadata["partition"] == "\(lost)")

    // With an epoch before the grant, over the unary call.
    let stale: CommitResponse = try await fixture.connection.call(
      GroupsMethod.commit,
      Wire.CommitRequest(
        group: "g", offsets: [PartitionOffset(topic: "t", partition: lost, offset: 5)],
        memberID: second.id, memberEpoch: second.epoch - 1))
    let early = try #require(stale.results.first?.error).asFault
    #expect(early.reason == .staleMemberEpoch && early.metadata["first"] == "\(second.epoch)")
    await fixture.end()
  }

  @Test func limitsAreToldWithTheirNames() async throws {
    let fixture = try await GroupFixture.start(partitions: 3) {
      $0.groups.limits.members = 1
      $0.groups.limits.groupsPerTenant = 1
      $0.groups.limits.offsets = 2
    }
    try await fixture.publish(1, to: 0..<3)
    let only = try await MemberClient.join(fixture.connection)
    func limit(_ body: () async throws -> Fault?) async throws -> String? {
      let fault = try await body()
      #expect(fault?.reason == .groupLimit && fault?.metadata["limit"] != nil)
      return fault?.metadata["what"]
    }
    let members = try await limit {
      let second = try await MemberClient.open(fixture.connection)
      while try await second.next() != nil {}
      return try await second.stream.fault()
    }
    #expect(members == "members")
    let offsets = try await limit {
      let id = try await only.send(commit: [0: 1, 1: 1, 2: 1])
      try await only.until { $0.commits[id] != nil }
      let failed = try #require(only.commits[id]).results.filter { ($0.error?.code ?? 0) != 0 }
      #expect(failed.count == 1)
      return failed.first?.error?.asFault
    }
    #expect(offsets == "committed offsets")
    // Another group of the same coordinator: every coordinator has its own count.
    let home = GroupKey(tenant: "default", name: "g").partition()
    let other = try #require(
      (0..<1_000).map { "h\($0)" }.first { GroupKey(tenant: "default", name: $0).partition() == home })
    let groups = try await limit {
      let response: CommitResponse = try await fixture.connection.call(
        GroupsMethod.commit,
        Wire.CommitRequest(group: other, offsets: [PartitionOffset(topic: "t", partition: 0, offset: 1)]))
      return response.results.first?.error?.asFault
    }
    #expect(groups == "groups of a tenant")
    await fixture.end()
  }

  /// A process that joins and breaks off, again and again, has to wait, and is told how long (G22).
  @Test func aFlappingMemberIsQuarantined() async throws {
    let fixture = try await GroupFixture.start(partitions: 1) {
      $0.groups.times.failures = 3
      $0.groups.times.reconnectGrace = 20
    }
    var refusal: Fault?
    for round in 0..<4 {
      let member = try await MemberClient.open(fixture.connection) { $0.processID = "flapping" }
      if round == 3 {
        while try await member.next() != nil {}
        refusal = try await member.stream.fault()
        break
      }
      try await member.until { $0.assignment != nil }
      try await member.cancel()
      // Gone after its grace.
      for _ in 0..<1_000 where try await fixture.description()?.members.isEmpty == false {
        try await Task.sleep(for: .milliseconds(5))
      }
    }
    #expect(refusal?.reason == .memberQuarantined)
    let wait = try #require(refusal?.retryAfterMilliseconds)
    #expect(wait > 5_000 && wait <= 10_000)
    // Others are not concerned.
    let other = try await MemberClient.join(fixture.connection) { $0.processID = "calm" }
    try await other.leave()
    await fixture.end()
  }

  /// A member that changes its subscription to one that is none keeps the one it has.
  @Test func aWrongSubscriptionIsRefused() async throws {
    for (patterns, assignor, reason) in [
      (["orders("], "", .patternInvalid), (["(a+)+[bc]"], "", .patternInvalid),
      ([], "best", .unknownAssignor),
    ] as [([String], String, Reason)] {
      let fixture = try await GroupFixture.start(partitions: 1)
      let member = try await MemberClient.open(fixture.connection) {
        $0.patterns = patterns
        $0.assignor = assignor
      }
      while try await member.next() != nil {}
      let fault = try await member.stream.fault()
      #expect(fault.reason == reason && fault.message.count > 20)
      if reason == .patternInvalid {
        #expect(fault.metadata["pattern"] == patterns[0] && fault.metadata["position"] != nil)
      } else {
        #expect(fault.message.contains("sticky"))
      }
      await fixture.end()
    }
  }
}

extension Status {
  fileprivate var asFault: Fault { Fault(self) }
}
