import Foundation
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Members over raw streams against a real broker: what they get, in which order, and what they commit.
@Suite(.serialized) struct SubscribeTests {
  @Test func aMemberReadsCommitsAndItsSuccessorGoesOn() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(10, to: 0..<2)
    let first = try await MemberClient.join(fixture.connection)
    #expect(first.joined?.heartbeatMs == 5_000 && first.joined?.offsetStore == "log")
    #expect(first.joined?.memberID.count == 32)
    try await first.until { $0.owned == [0, 1] && $0.values.count == 20 }
    #expect(first.received == [0: Array(0..<10), 1: Array(0..<10)])
    #expect(try await first.commit([0: 10, 1: 4]) == [:])
    try await first.leave()

    let second = try await MemberClient.join(fixture.connection)
    try await second.until { $0.received[1]?.count == 6 }
    #expect(second.received == [1: Array(4..<10)])
    // What comes later comes to it, of both partitions.
    try await fixture.publish(1, to: 0..<2, first: 10)
    try await second.until { $0.values.count == 8 }
    #expect(second.received[0] == [10])
    try await second.leave()
    await fixture.end()
  }

  /// Of every partition, in records and in time; the answer to a heartbeat.
  @Test func aHeartbeatTellsTheLag() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(10, to: 0..<2)
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 20 }
    #expect(try await member.commit([0: 10, 1: 4]) == [:])
    let beat = try await member.beat()
    #expect(beat.epoch == member.epoch && beat.sentMs > 0)
    let lag = beat.lag.sorted { $0.partition < $1.partition }
    #expect(lag.map(\.committedOffset) == [10, 4] && lag.map(\.highWatermark) == [10, 10])
    #expect(lag.map(\.records) == [0, 6])
    #expect(lag.first?.milliseconds == 0 && (1..<60_000).contains(lag.last?.milliseconds ?? 0))
    try await member.leave()
    await fixture.end()
  }

  /// Nobody gets answers faster than it asks, or makes the coordinator work faster than it does; nothing of what was said
  /// is lost.
  @Test func heartbeatsThatComeTogetherBecomeOne() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.owned == [0, 1] }
    var heartbeats = [MemberHeartbeat](
      repeating: MemberHeartbeat(epoch: member.epoch, progress: .idle), count: 2_000)
    heartbeats[1].topics = ["elsewhere"]
    try await member.stream.send(together: heartbeats.map { SubscribeRequest(heartbeat: $0) })
    var answers = 0
    while member.revoking != [0, 1] {
      let response = try #require(try await member.next())
      if response.heartbeat != nil { answers += 1 }
    }
    // What it gives back comes with hundreds of others, and counts.
    let kept = MemberHeartbeat(epoch: member.epoch, hasOwned: true, progress: .idle)
    let plain = MemberHeartbeat(epoch: member.epoch, progress: .idle)
    try await member.stream.send(
      together: ([plain, kept] + [MemberHeartbeat](repeating: plain, count: 500)).map {
        SubscribeRequest(heartbeat: $0)
      })
    let heir = try await MemberClient.join(fixture.connection)
    try await heir.until { $0.owned == [0, 1] }
    try await member.stream.send(SubscribeRequest(leave: MemberLeave()))
    while let response = try await member.next() {
      if response.heartbeat != nil { answers += 1 }
    }
    #expect((1..<600).contains(answers), "\(answers) answers")
    try await heir.leave()
    await fixture.end()
  }
}
