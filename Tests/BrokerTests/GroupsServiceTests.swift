import Foundation
import FoundationNetworking
import GroupCoordination
import NIOCore
import NIOPosix
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// `skein.v1.Groups` against a real broker.
@Suite(.serialized) struct GroupsServiceTests {
  /// A broker with the topic `orders`: 3 partitions, the first with ten records of the times 1,000, 2,000 … 10,000 ms.
  private func start(_ configure: (inout BrokerConfiguration) -> Void = { _ in }) async throws -> (
    test: TestBroker, connection: GRPCConnection
  ) {
    let test = try await TestBroker.start(configure: configure)
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "orders", partitions: 3))
    for time in 1...10 {
      let _: PublishResponse = try await connection.call(
        ProducerMethod.publish,
        PublishRequest(
          topic: "orders",
          records: [
            Record(value: SharedBytes(Array("r".utf8)), timestampMs: Int64(time) * 1_000, partition: 0)
          ]))
    }
    return (test, connection)
  }

  private func commit(
    _ offsets: [(Int32, Int64)], of group: String = "billing", topic: String = "orders", member: String = "",
    epoch: Int32 = 0, on connection: GRPCConnection
  ) async throws -> [Fault?] {
    let response: CommitResponse = try await connection.call(
      GroupsMethod.commit,
      Wire.CommitRequest(
        group: group,
        offsets: offsets.map {
          PartitionOffset(topic: topic, partition: $0.0, offset: $0.1, metadata: "m\($0.1)")
        },
        memberID: member, memberEpoch: epoch))
    return response.results.map { $0.error.map { Fault($0) } }
  }

  private func describe(
    _ group: String = "billing", on connection: GRPCConnection
  ) async throws -> DescribeGroupResponse {
    try await connection.call(GroupsMethod.describe, DescribeGroupRequest(group: group))
  }

  @Test func offsetsAreCommittedFetchedDescribedAndDeleted() async throws {
    let (test, connection) = try await start()
    let results = try await commit(
      [(0, 4), (1, 0), (0, 11), (7, 0)], on: connection)
    #expect(results[0] == nil && results[1] == nil)
    #expect(results[2]?.reason == .offsetOutOfRange)
    #expect(results[2]?.metadata["log_start_offset"] == "0" && results[2]?.metadata["high_watermark"] == "10")
    #expect(results[2]?.metadata["topic"] == "orders")
    #expect(results[3]?.reason == .partitionNotFound)
    #expect(try await commit([(0, 0)], topic: "nowhere", on: connection)[0]?.reason == .topicNotFound)
    let behind = try await commit([(0, 3)], on: connection)[0]
    #expect(behind?.reason == .commitBehind && behind?.metadata["committed"] == "4")

    let fetched: FetchOffsetsResponse = try await connection.call(
      GroupsMethod.fetchOffsets, Wire.FetchOffsetsRequest(group: "billing"))
    #expect(fetched.offsets.map(\.offset) == [4, 0] && fetched.offsets.map(\.metadata) == ["m4", "m0"])
    let one: FetchOffsetsResponse = try await connection.call(
      GroupsMethod.fetchOffsets,
      Wire.FetchOffsetsRequest(
        group: "billing", partitions: [TopicPartitions(topic: "orders", partitions: [1, 2])]))
    #expect(one.offsets.map(\.partition) == [1])

    let described = try await describe(on: connection)
    #expect(described.summary?.group == "billing" && described.summary?.phase == .empty)
    #expect(described.summary?.offsetStore == "log" && described.emptySinceMs > 0)
    let lag = try #require(described.partitions.first?.lag)
    #expect(lag.topic == "orders" && lag.committedOffset == 4 && lag.highWatermark == 10 && lag.records == 6)
    #expect(lag.milliseconds > 0 && lag.milliseconds < 60_000, "by the broker's clock, not the records'")
    #expect(described.partitions[1].lag?.records == 0 && described.partitions[1].lag?.milliseconds == 0)

    let deleted: DeleteGroupResponse = try await connection.call(
      GroupsMethod.delete, DeleteGroupRequest(group: "billing", topic: "orders"))
    #expect(deleted.offsets == 2)
    let gone: DeleteGroupResponse = try await connection.call(
      GroupsMethod.delete, DeleteGroupRequest(group: "billing"))
    #expect(gone.offsets == 0)
    let missing = await fault { _ = try await describe(on: connection) }
    #expect(missing?.reason == .groupNotFound)
    await connection.close()
    await test.remove()
  }

  @Test func groupsAreListedInOrderAndInPages() async throws {
    let (test, connection) = try await start()
    let names = (0..<25).map { String(format: "g%02d", $0) } + ["other"]
    for name in names { #expect(try await commit([(0, 1)], of: name, on: connection) == [nil]) }
    var listed: [String] = []
    var token = ""
    repeat {
      let page: ListGroupsResponse = try await connection.call(
        GroupsMethod.list, ListGroupsRequest(pageSize: 7, pageToken: token))
      #expect(page.groups.count <= 7)
      listed += page.groups.map(\.group)
      token = page.nextPageToken
    } while !token.isEmpty
    #expect(listed == names)
    let some: ListGroupsResponse = try await connection.call(
      GroupsMethod.list, ListGroupsRequest(prefix: "g1"))
    #expect(some.groups.map(\.group) == Array(names[10..<20]) && some.nextPageToken.isEmpty)
    await connection.close()
    await test.remove()
  }

  @Test func offsetsAreResetToEveryPlaceOrNotAtAll() async throws {
    let (test, connection) = try await start()
    #expect(try await commit([(0, 4), (1, 0)], on: connection) == [nil, nil])
    func reset(
      _ place: ResetOffsetsRequest.Place?, _ partitions: [Int32] = [], dryRun: Bool = false
    ) async throws -> [OffsetChange] {
      let response: ResetOffsetsResponse = try await connection.call(
        GroupsMethod.resetOffsets,
        ResetOffsetsRequest(
          group: "billing", topic: "orders", partitions: partitions, place: place, dryRun: dryRun))
      return response.changes
    }
    var changes = try await reset(.earliest(true), dryRun: true)
    #expect(changes.map(\.before) == [4, 0, -1] && changes.map(\.after) == [0, 0, 0])
    #expect(changes.map(\.lag) == [10, 0, 0])
    #expect(try await describe(on: connection).partitions.first?.lag?.committedOffset == 4, "only shown")
    changes = try await reset(.latest(true))
    #expect(changes.map(\.after) == [10, 0, 0] && changes.map(\.lag) == [0, 0, 0])
    #expect(try await reset(.shift(-3)).map(\.after) == [7, 0, 0], "cut to the log")
    #expect(try await reset(.shift(.max), [0]).map(\.after) == [10])
    #expect(try await reset(.shift(.min), [0]).map(\.after) == [0])
    #expect(try await reset(.offset(6), [0]).map(\.after) == [6])
    #expect(try await reset(.timeMs(2_500), [0]).map(\.after) == [2], "the first at or behind that time")
    #expect(try await reset(.timeMs(99_000), [0]).map(\.after) == [10])
    #expect(try await describe(on: connection).partitions.first?.lag?.committedOffset == 10)

    let outside = await fault { _ = try await reset(.offset(6)) }
    #expect(outside?.reason == .offsetOutOfRange && outside?.metadata["partition"] == "1")
    #expect(try await describe(on: connection).partitions.first?.lag?.committedOffset == 10, "all or none")
    for (place, field) in [
      (nil, "place"), (.earliest(false), "earliest"), (.latest(false), "latest"), (.offset(-1), "offset"),
      (.timeMs(-1), "time_ms"),
    ] as [(ResetOffsetsRequest.Place?, String)] {
      let refused = await fault { _ = try await reset(place) }
      #expect(refused?.reason == .invalidRequest && refused?.violations.map(\.field) == [field])
    }
    #expect(await fault { _ = try await reset(.latest(true), [0, 0]) }?.reason == .invalidRequest)
    #expect(await fault { _ = try await reset(.latest(true), [3]) }?.reason == .partitionNotFound)
    let _: DeleteGroupResponse = try await connection.call(
      GroupsMethod.delete, DeleteGroupRequest(group: "billing"))
    #expect(await fault { _ = try await reset(.latest(true)) }?.reason == .groupNotFound)
    await connection.close()
    await test.remove()
  }

  /// A shift needs something to be shifted.
  @Test func nothingCommittedIsNotShifted() async throws {
    let (test, connection) = try await start()
    #expect(try await commit([(0, 4)], on: connection) == [nil])
    let request = ResetOffsetsRequest(group: "billing", topic: "orders", partitions: [2], place: .shift(-1))
    let refused = await fault {
      let _: ResetOffsetsResponse = try await connection.call(GroupsMethod.resetOffsets, request)
    }
    #expect(refused?.reason == .noCommittedOffset)
    await connection.close()
    await test.remove()
  }

  @Test func membersGuardTheirGroup() async throws {
    let (test, connection) = try await start()
    let key = GroupKey(tenant: "default", name: "billing")
    let groups = test.broker.context.groups
    let sink = RecordingSink(MultiThreadedEventLoopGroup.singleton.next())
    let session = groups.attach(sink, to: key)
    let join = JoinRequest(
      group: key, memberID: "m1", processID: "p1", subscription: Subscription(names: ["orders"]))
    _ = try await groups.ask(.join(join, session), of: key)
    let assignment = try #require(try await sink.assignment { $0.partitions.count == 3 })

    let alone = await fault { _ = try await commit([(0, 1)], on: connection) }
    #expect(alone?.reason == .groupHasMembers)
    let stranger = await fault { _ = try await commit([(0, 1)], member: "m2", epoch: 1, on: connection) }
    #expect(stranger?.reason == .unknownMember)
    let stale = await fault {
      _ = try await commit([(0, 1)], member: "m1", epoch: assignment.epoch + 1, on: connection)
    }
    #expect(stale?.reason == .staleMemberEpoch)
    #expect(try await commit([(0, 4)], member: "m1", epoch: assignment.epoch, on: connection) == [nil])
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "foreign", partitions: 1))
    let notAssigned = try await commit(
      [(0, 0)], topic: "foreign", member: "m1", epoch: assignment.epoch, on: connection)
    #expect(notAssigned[0]?.reason == .notAssigned && notAssigned[0]?.metadata["topic"] == "foreign")

    let reset = await fault {
      let _: ResetOffsetsResponse = try await connection.call(
        GroupsMethod.resetOffsets,
        ResetOffsetsRequest(group: "billing", topic: "orders", place: .earliest(true)))
    }
    #expect(reset?.reason == .groupHasMembers)
    let deleted = await fault {
      let _: DeleteGroupResponse = try await connection.call(
        GroupsMethod.delete, DeleteGroupRequest(group: "billing"))
    }
    #expect(deleted?.reason == .groupHasMembers)

    let described = try await describe(on: connection)
    #expect(described.summary?.phase == .stable && described.summary?.members == 1)
    let member = try #require(described.members.first)
    #expect(member.memberID == "m1" && member.connected && member.topics == ["orders"])
    #expect(member.assigned.map(\.topic) == ["orders"] && member.assigned.first?.partitions == [0, 1, 2])
    #expect(described.partitions.map(\.memberID) == ["m1", "m1", "m1"])
    #expect(described.partitions.map { $0.lag?.committedOffset } == [4, -1, -1])
    await connection.close()
    await test.remove()
  }

  @Test func whatNoGroupMayBeCalledIsRefused() async throws {
    let (test, connection) = try await start()
    for name in ["", "__groups", "a/b", "ü", String(repeating: "x", count: 250)] {
      let refused = await fault { _ = try await commit([(0, 0)], of: name, on: connection) }
      #expect(refused?.violations.first?.field == "group", "\(name)")
    }
    let many = (0...10_000).map { (Int32(0), Int64($0 % 5)) }
    let tooMany = await fault { _ = try await commit(many, on: connection) }
    #expect(tooMany?.violations.first?.field == "offsets", "\(tooMany?.message ?? "")")
    #expect(await fault { _ = try await commit([], on: connection) }?.violations.first?.field == "offsets")
    let large = Wire.CommitRequest(
      group: "billing",
      offsets: (0..<600).map { _ in
        PartitionOffset(topic: "orders", offset: 1, metadata: String(repeating: "m", count: 4_000))
      })
    let refused = await fault {
      let _: CommitResponse = try await connection.call(GroupsMethod.commit, large)
    }
    #expect(refused?.violations.first?.field == "metadata")
    await connection.close()
    await test.remove()
  }

  @Test func patternsAreCheckedAndTheirWorkIsBounded() async throws {
    for (pattern, position) in [("orders(", 7), ("[", 1), ("a{2,1}", 5)] {
      let refused = await fault { try GroupsCheck.pattern(pattern) }
      #expect(refused?.reason == .patternInvalid)
      #expect(refused?.metadata["position"] == "\(position)", "\(pattern) \(refused?.message ?? "")")
    }
    #expect(await fault { try GroupsCheck.pattern("") }?.reason == .patternInvalid)
    let nested = await fault { try GroupsCheck.pattern("(a+)+[bc]") }
    #expect(nested?.reason == .patternInvalid && nested?.message.contains("steps") == true)
    let good = try TopicPattern("orders-.*|inv")
    try good.probe()
    #expect(good.match("orders-1") == .yes && good.match("inv") == .yes)
    #expect(good.match("xorders-1") == .no && good.match("invoice") == .no, "whole names only")
  }

  @Test func offsetsOfADeletedTopicGo() async throws {
    var (test, connection) = try await start()
    #expect(try await commit([(0, 4), (1, 0)], on: connection) == [nil, nil])
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "kept", partitions: 1))
    #expect(try await commit([(0, 0)], topic: "kept", on: connection) == [nil])
    let _: DeleteTopicResponse = try await connection.call(
      TopicsMethod.delete, DeleteTopicRequest(name: "orders"))
    // Made again, it is another topic, of which nothing is committed.
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "orders", partitions: 3))
    for isRestarted in [false, true] {
      if isRestarted {
        await connection.close()
        await test.kill()
        test = try await TestBroker.start(folder: test.folder, identities: test.issuer)
        connection = try await test.connect()
      }
      var topics: [String] = []
      for _ in 0..<500 {
        let described = try await describe(on: connection)
        topics = described.partitions.compactMap(\.lag?.topic)
        if topics == ["kept"] { break }
        try await Task.sleep(for: .milliseconds(10))
      }
      #expect(topics == ["kept"])
    }
    await connection.close()
    await test.remove()
  }

  @Test func lagIsOnTheMetricsPage() async throws {
    let (test, connection) = try await start()
    #expect(try await commit([(0, 4)], on: connection) == [nil])
    let page = try await metrics(of: test)
    #expect(
      page.contains(
        "skein_group_lag_records{tenant=\"default\",group=\"billing\",topic=\"orders\",partition=\"0\"} 6"))
    #expect(page.contains("skein_groups 1\n") && page.contains("skein_group_commits_total 1\n"))
    #expect(page.contains("skein_group_lags_omitted 0\n"))
    #expect(!page.contains("topic=\"__groups\""), "the system's own topic is no user's")
    await connection.close()
    await test.remove()
  }

  private func metrics(of test: TestBroker) async throws -> String {
    let url = try #require(URL(string: "http://127.0.0.1:\(test.operationsPort)/metrics"))
    return String(decoding: try await URLSession.shared.data(from: url).0, as: UTF8.self)
  }
}
