import Foundation
import GroupCoordination
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Partitions that move between members.
@Suite(.serialized) struct SubscribeRebalanceTests {
  @Test func twoMembersShareWithoutDuplicatesBeyondTheCommits() async throws {
    let fixture = try await GroupFixture.start(partitions: 4)
    try await fixture.publish(10, to: 0..<4)
    let a = try await MemberClient.join(fixture.connection)
    try await a.until { $0.values.count == 40 }
    #expect(try await a.commit([0: 10, 1: 10, 2: 10, 3: 7]) == [:])

    let b = try await MemberClient.open(fixture.connection)
    try await a.until { $0.revoking.count == 2 }
    let moved = a.revoking
    // Said where the sending stopped, and how long there is.
    #expect(Set(a.assignment?.reclaim.map(\.partition) ?? []) == moved)
    #expect(a.assignment?.reclaim.allSatisfy { $0.offset == 10 } == true)
    #expect((a.assignment?.revokeWithinMs ?? 0) > 0)
    // While it is asked for, nobody has it: the last commit must pass (G15).
    #expect(try await a.commit(Dictionary(uniqueKeysWithValues: moved.map { ($0, 10) })) == [:])
    try await a.release()
    try await b.until { $0.owned == moved }
    try await fixture.publish(1, to: 0..<4, first: 10)
    try await b.until { $0.values.count == 2 }
    try await a.until { $0.values.count == 42 }
    #expect(Set(b.values) == Set(moved.map { "\($0)-10" }))
    #expect(Set(a.values + b.values).count == 44 && a.values.count + b.values.count == 44)

    // What was not committed is read again, and nothing else, when a member goes.
    let kept = Set(0..<4).subtracting(moved)
    _ = try await a.commit(Dictionary(uniqueKeysWithValues: kept.map { ($0, $0 == kept.min() ? 11 : 10) }))
    try await a.leave()
    try await b.until { $0.owned == [0, 1, 2, 3] && $0.values.count == 3 }
    #expect(b.values.last == "\(kept.max() ?? -1)-10")
    try await b.leave()
    await fixture.end()
  }

  /// G7-G9: who is slow with giving back keeps only those waiting who get that very partition.
  @Test func theHandoverWaitsForTheSlowOneOnly() async throws {
    let fixture = try await GroupFixture.start(partitions: 6)
    let slow = try await MemberClient.join(fixture.connection)
    try await slow.until { $0.owned.count == 6 }
    let quick = try await MemberClient.open(fixture.connection)
    try await slow.until { $0.revoking.count == 3 }
    try await slow.release()
    try await quick.until { $0.owned.count == 3 }

    let third = try await MemberClient.open(fixture.connection)
    try await slow.until { $0.revoking.count == 1 }
    try await quick.until { $0.revoking.count == 1 }
    let (ofSlow, ofQuick) = (try #require(slow.revoking.first), try #require(quick.revoking.first))
    try await quick.release()
    try await third.until { $0.owned == [ofQuick] }
    // Everything goes on but the partition that is being given back.
    try await fixture.publish(1, to: 0..<6)
    try await third.until { $0.values == ["\(ofQuick)-0"] }
    try await quick.until { $0.values.count == 2 }
    try await slow.until { $0.values.count == 2 }
    try await slow.beat()
    #expect(!slow.values.contains("\(ofSlow)-0"), "a partition under revocation is sent no more")
    #expect(third.owned == [ofQuick])
    try await slow.release()
    try await third.until { $0.owned == [ofSlow, ofQuick] && $0.values.count == 2 }
    #expect(third.values.contains("\(ofSlow)-0"))
    for member in [slow, quick, third] { try await member.leave() }
    await fixture.end()
  }

  /// A member that the change does not concern is not even told (ADR 0011).
  @Test func aChangeOfOthersIsNotTold() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    let a = try await MemberClient.join(fixture.connection)
    try await a.until { $0.owned.count == 2 }
    let b = try await MemberClient.open(fixture.connection)
    try await a.until { $0.revoking.count == 1 }
    try await a.release()
    try await b.until { $0.owned.count == 1 }
    let before = (a.epoch, b.epoch)
    let idle = try await MemberClient.join(fixture.connection)
    #expect(idle.owned.isEmpty)
    #expect(try await a.beat().epoch == before.0)
    #expect(try await b.beat().epoch == before.1)
    #expect(a.assignment?.epoch == before.0 && b.assignment?.epoch == before.1)
    for member in [idle, a, b] { try await member.leave() }
    await fixture.end()
  }

  /// Another subscription: what it does not want any more is taken, what it wants is given.
  @Test func aSubscriptionChanges() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    let _: CreateTopicResponse = try await fixture.connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "u-1", partitions: 1))
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.owned == [0, 1] }
    try await member.heartbeat { $0.patterns = ["u-.*"] }
    try await member.until { $0.revoking == [0, 1] }
    try await member.release()
    try await member.until { $0.assignment?.partitions.first?.topic == "u-1" }
    // A topic that comes later and matches.
    let _: CreateTopicResponse = try await fixture.connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "u-2", partitions: 1))
    try await member.until { $0.assignment?.partitions.map(\.topic).sorted() == ["u-1", "u-2"] }
    try await member.heartbeat { $0.patterns = ["(u"] }
    #expect(try await member.ending() == .patternInvalid)
    await fixture.end()
  }

  // MARK: Streams that break

  @Test func aStreamThatComesBackKeepsItsPartitions() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(5, to: 0..<2)
    let a = try await MemberClient.join(fixture.connection)
    try await a.until { $0.values.count == 10 }
    let other = try await MemberClient.join(fixture.connection) { $0.topics = ["elsewhere"] }
    let epoch = other.epoch
    try await a.cancel()
    try await fixture.publish(1, to: 0..<2, first: 5)

    let again = try await a.resume(fixture.connection)
    try await again.until { $0.values.count == 2 }
    #expect(again.id == a.id && again.epoch == a.epoch && again.owned == [0, 1])
    // Where it was, although nothing was committed; nobody else heard of it.
    #expect(Set(again.values) == ["0-5", "1-5"])
    #expect(try await other.beat().epoch == epoch)
    #expect(try await again.commit([0: 6, 1: 6]) == [:])
    #expect(try await fixture.committed() == [0: 6, 1: 6])
    try await again.leave()
    try await other.leave()
    await fixture.end()
  }

  /// What the member never got is told when it comes back: here, that it is to give half of it back.
  @Test func aMemberThatComesBackHearsWhatItMissed() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    let a = try await MemberClient.join(fixture.connection)
    try await a.until { $0.owned == [0, 1] }
    try await a.cancel()
    _ = try await a.stream.status()
    let b = try await MemberClient.join(fixture.connection)
    #expect(b.owned.isEmpty)
    let again = try await a.resume(fixture.connection)
    try await again.until { $0.revoking.count == 1 }
    try await again.release()
    try await b.until { $0.owned.count == 1 }
    #expect(again.owned.isDisjoint(with: b.owned))
    // Given back, and given again: it begins anew.
    try await b.leave()
    try await again.until { $0.owned == [0, 1] }
    try await fixture.publish(1, to: 0..<2)
    try await again.until { $0.values.count == 2 }
    try await again.leave()
    await fixture.end()
  }

  @Test func aStreamThatDoesNotComeBackLosesItsPartitions() async throws {
    let fixture = try await GroupFixture.start(partitions: 2) { $0.groups.times.reconnectGrace = 200 }
    try await fixture.publish(3, to: 0..<2)
    let a = try await MemberClient.join(fixture.connection)
    try await a.until { $0.values.count == 6 }
    #expect(try await a.commit([0: 2]) == [:])
    let b = try await MemberClient.join(fixture.connection)
    try await a.until { $0.revoking.count == 1 }
    try await a.cancel()
    try await b.until { $0.owned == [0, 1] && $0.values.count == 4 }
    #expect(Set(b.values) == ["0-2", "1-0", "1-1", "1-2"])
    // The zombie is a member no more, whatever it says.
    let zombie = try await a.resume(fixture.connection)
    try await zombie.send(commit: [0: 3, 1: 3])
    #expect(try await zombie.ending() == .unknownMember)
    #expect(try await fixture.committed() == [0: 2])
    try await b.leave()
    await fixture.end()
  }

  /// G11: it hangs, but its connection stands. Any message would have been a sign of life.
  @Test func aSilentMemberIsRemovedAndItsCommitsAreRefused() async throws {
    let fixture = try await GroupFixture.start(partitions: 1) {
      $0.groups.times.heartbeat = 200
      $0.groups.times.session = 800
    }
    try await fixture.publish(3, to: 0..<1)
    let silent = try await MemberClient.join(fixture.connection)
    try await silent.until { $0.values.count == 3 }
    let heir = try await MemberClient.join(fixture.connection)
    let keepalive = Task { [stream = Unchecked(heir.stream)] in
      while !Task.isCancelled {
        try await stream.value.send(SubscribeRequest(credit: ReadCredit(messages: 1, bytes: 1)))
        try await Task.sleep(for: .milliseconds(100))
      }
    }
    try await heir.until { $0.owned == [0] && $0.values.count == 3 }
    #expect(try await silent.ending() == .memberExpired)
    _ = try? await silent.send(commit: [0: 3])
    #expect(try await heir.commit([0: 1]) == [:])
    #expect(try await fixture.committed() == [0: 1])
    keepalive.cancel()
    try await heir.leave()
    await fixture.end()
  }

  /// G14, and what a temporary leave is: the partitions wait for the successor of the same name.
  @Test func aStaticMemberComesBackToItsPartitions() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    func join(_ name: String) async throws -> MemberClient {
      try await MemberClient.join(fixture.connection) { $0.instanceID = name }
    }
    let a = try await join("a")
    try await a.until { $0.owned == [0, 1] }
    let b = try await join("b")
    try await a.until { $0.revoking.count == 1 }
    try await a.release()
    try await b.until { $0.owned.count == 1 }
    let twin = try await MemberClient.open(fixture.connection) { $0.instanceID = "a" }
    #expect(try await twin.ending() == .unreleasedInstanceID)
    let had = a.owned
    try await a.leave(temporary: true)
    #expect(try await b.beat().epoch == b.epoch)
    let successor = try await join("a")
    try await successor.until { $0.owned == had }
    #expect(try await b.beat().epoch == b.epoch)
    try await successor.leave()
    try await b.leave()
    await fixture.end()
  }
}
