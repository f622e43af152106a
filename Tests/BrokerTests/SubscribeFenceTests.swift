import Foundation
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// A group at the cuts of fenced swaps of its topic's partitioner.
@Suite(.serialized) struct SubscribeFenceTests {
  /// Partitions 0 and 1 with records 0 to 2 before the swap and 3 to 5 after it.
  private static func start(
    fence: Bool = true, _ configure: (inout BrokerConfiguration) -> Void = { _ in }
  ) async throws -> GroupFixture {
    let fixture = try await GroupFixture.start(partitions: 2, configure)
    try await fixture.publish(3, to: 0..<2)
    try await swap(fixture, to: "round-robin", fence: fence)
    try await fixture.publish(3, to: 0..<2, first: 3)
    return fixture
  }

  private static func swap(_ fixture: GroupFixture, to partitioner: String, fence: Bool) async throws {
    let done = try await SwapTests.bind(
      fixture.connection, partitioner, fence: fence, acceptReorder: !fence, watch: 1)
    #expect(done.fault == nil)
  }

  /// Heartbeats go round while nothing else comes.
  private func nothingMore(_ member: MemberClient, than count: Int) async throws {
    for _ in 0..<3 {
      try await member.beat()
      try await Task.sleep(for: .milliseconds(50))
    }
    #expect(member.values.count == count)
  }

  @Test func nothingBehindACutIsGivenOutBeforeAllBelowTheCutsIsCommitted() async throws {
    let fixture = try await Self.start()
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 6 }
    #expect(member.received == [0: [0, 1, 2], 1: [0, 1, 2]])
    try await nothingMore(member, than: 6)
    #expect(try await member.commit([0: 3, 1: 2]) == [:])
    try await nothingMore(member, than: 6)
    #expect(try await member.commit([1: 3]) == [:])
    try await member.until { $0.values.count == 12 }
    #expect(member.received == [0: Array(0..<6), 1: Array(0..<6)])

    // Also of a swap that comes while it reads.
    try await Self.swap(fixture, to: "sticky", fence: true)
    try await fixture.publish(1, to: 0..<2, first: 6)
    try await nothingMore(member, than: 12)
    #expect(try await member.commit([0: 6, 1: 6]) == [:])
    try await member.until { $0.values.count == 14 }
    try await member.leave()
    await fixture.end()
  }

  /// The other partition is another member's; and who comes later begins at the cut and waits there, too.
  @Test func membersWaitForEachOther() async throws {
    let fixture = try await Self.start()
    let first = try await MemberClient.join(fixture.connection)
    try await first.until { $0.values.count == 6 }
    let second = try await MemberClient.open(fixture.connection)
    try await first.until { !$0.revoking.isEmpty }
    let given = try #require(first.revoking.first)
    #expect(try await first.commit([given: 3]) == [:])
    try await first.release()
    try await second.until { $0.owned == [given] }
    try await nothingMore(second, than: 0)
    #expect(try await first.commit([1 - given: 3]) == [:])
    try await first.until { $0.values.count == 9 }
    try await second.until { $0.values.count == 3 }
    #expect(second.received == [given: [3, 4, 5]])

    // Who begins behind the cuts has them behind it.
    #expect(try await second.commit([given: 4]) == [:])
    try await second.leave()
    try await first.leave()
    let third = try await MemberClient.join(fixture.connection)
    try await third.until { $0.received[given] == [4, 5] }
    try await third.leave()
    await fixture.end()
  }

  /// Records that are gone need no commit, and a swap without a fence holds nobody.
  @Test func whatIsGoneIsNotWaitedFor() async throws {
    let fixture = try await Self.start()
    let _: DeleteRecordsResponse = try await fixture.connection.call(
      TopicsMethod.deleteRecords,
      DeleteRecordsRequest(topic: "t", partitions: [DeleteRecordsPartition(partition: 1, beforeOffset: 3)]))
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 3 }
    try await nothingMore(member, than: 3)
    #expect(try await member.commit([0: 3]) == [:])
    try await member.until { $0.values.count == 9 }
    #expect(member.received == [0: Array(0..<6), 1: [3, 4, 5]])
    try await member.leave()
    await fixture.end()

    let open = try await Self.start(fence: false)
    let free = try await MemberClient.join(open.connection)
    try await free.until { $0.values.count == 12 }
    try await free.leave()
    await open.end()
  }

  /// Who goes there by itself has the cut behind it; the other partition still waits.
  @Test func whoSeeksBehindACutIsNotHeld() async throws {
    let fixture = try await Self.start()
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 6 }
    try await member.stream.send(
      SubscribeRequest(seek: MemberSeek(number: 1, topic: "t", partition: 0, offset: 4)))
    try await member.until { $0.received[0] == [0, 1, 2, 4, 5] }
    try await nothingMore(member, than: 8)
    try await member.leave()
    await fixture.end()
  }

  /// A group that never commits is not held for ever, and the operator hears of it.
  @Test func theWaitIsBounded() async throws {
    let fixture = try await Self.start { $0.fenceWaitMilliseconds = 100 }
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 12 }
    #expect(member.received == [0: Array(0..<6), 1: Array(0..<6)])
    #expect(fixture.test.broker.context.metrics.fencesWaitedOut.value == 2)
    try await member.leave()
    await fixture.end()
  }
}
