import Foundation
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// What a member may not say, one by one.
@Suite(.serialized) struct SubscribeRefusalTests {
  @Test func joinsAreChecked() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    let cases: [(Reason, (inout SubscribeJoin) -> Void)] = [
      (.invalidRequest, { $0.group = "__groups" }),
      (.invalidRequest, { $0.group = "a b" }),
      (.invalidRequest, { $0.topics = [] }),
      (.invalidRequest, { $0.topics = ["a/b"] }),
      (.invalidRequest, { $0.processingMs = 5 }),
      (.invalidRequest, { $0.processingMs = -1 }),
      (.invalidRequest, { $0.ackCommitMs = 1 << 30 }),
      (.invalidRequest, { $0.memberID = String(repeating: "x", count: 250) }),
      (.invalidRequest, { join in for number in 0..<17 { join.labels["\(number)"] = "x" } }),
      (.invalidRequest, { $0.resume = SubscribeResume(epoch: 1) }),
      (
        .invalidRequest,
        {
          $0.memberID = "m"
          $0.resume = SubscribeResume(
            epoch: 1, positions: [PartitionOffset(topic: "t", partition: 0, offset: -2)])
        }
      ),
      (
        .unknownMember,
        {
          $0.memberID = "m"
          $0.resume = SubscribeResume(epoch: 1)
        }
      ),
      (.groupLimit, { $0.topics = (0..<201).map { "t\($0)" } }),
      (.groupLimit, { $0.patterns = (0..<17).map { "t\($0)" } }),
      (.patternInvalid, { $0.patterns = ["("] }),
      (.unknownAssignor, { $0.assignor = "best" }),
    ]
    for (reason, change) in cases {
      let member = try await MemberClient.open(fixture.connection, change)
      #expect(try await member.ending() == reason)
    }
    let early = try await SubscribeClient.open(ConsumerMethod.subscribe, on: fixture.connection)
    try await early.send(SubscribeRequest(heartbeat: MemberHeartbeat(epoch: 1)))
    #expect(try await early.fault().reason == .streamNotOpen)
    // What came with a join would be forgotten.
    let mixed = try await SubscribeClient.open(ConsumerMethod.subscribe, on: fixture.connection)
    try await mixed.send(
      SubscribeRequest(
        join: SubscribeJoin(group: "g", topics: ["t"]),
        commit: MemberCommit(id: 1, offsets: [PartitionOffset(topic: "t")])))
    #expect(try await mixed.fault().reason == .invalidRequest)
    let twice = try await MemberClient.join(fixture.connection)
    try await twice.stream.send(SubscribeRequest(join: SubscribeJoin(group: "g", topics: ["t"])))
    #expect(try await twice.ending() == .streamNotOpen)
    await fixture.end()
  }

  @Test func messagesAreChecked() async throws {
    let fixture = try await GroupFixture.start(partitions: 1)
    let many = (0..<10_001).map { PartitionOffset(topic: "t", partition: 0, offset: Int64($0)) }
    let cases: [SubscribeRequest] = [
      SubscribeRequest(commit: MemberCommit(id: 0, offsets: [PartitionOffset(topic: "t")])),
      SubscribeRequest(commit: MemberCommit(id: 1)),
      SubscribeRequest(commit: MemberCommit(id: 1, offsets: many)),
      SubscribeRequest(ack: MemberAck(ranges: [AckedRange(topic: "t", first: 5, last: 4)])),
      SubscribeRequest(ack: MemberAck(ranges: [AckedRange(topic: "t", first: -5, last: 4)])),
      SubscribeRequest(ack: MemberAck(ranges: [AckedRange(topic: "t", first: 0, last: .max)])),
      SubscribeRequest(
        ack: MemberAck(ranges: (0..<10_001).map { AckedRange(topic: "t", first: $0) })),
      SubscribeRequest(seek: MemberSeek(number: 0, topic: "t")),
      SubscribeRequest(seek: MemberSeek(number: 1, topic: "t", offset: .max)),
      SubscribeRequest(
        pause: MemberPause(pause: [TopicPartitions(topic: "t", partitions: [], topicID: "nonsense")])),
      SubscribeRequest(
        pause: MemberPause(pause: [
          TopicPartitions(topic: "t", partitions: [Int32](repeating: 0, count: 20_001))
        ])),
      SubscribeRequest(
        reclaimed: MemberReclaimed(
          positions: (0..<20_001).map { PartitionOffset(topic: "a-topic-of-ours", partition: 0, offset: $0) })
      ),
    ]
    for (number, request) in cases.enumerated() {
      let member = try await MemberClient.join(fixture.connection)
      try await member.stream.send(request)
      let reason = try await member.ending()
      let status = try await member.stream.status()
      #expect(reason == .invalidRequest, "case \(number): \(status)")
    }
    // A membership that it does not have, or not any more.
    let stale = try await MemberClient.join(fixture.connection)
    try await stale.heartbeat { $0.epoch = 1 << 20 }
    #expect(try await stale.ending() == .staleMemberEpoch)
    await fixture.end()
  }
}
