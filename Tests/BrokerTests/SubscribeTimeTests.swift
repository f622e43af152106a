import GroupCoordination
import NIOCore
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Members that are slow, that do not give back, and brokers that come back: what the clock decides.
@Suite(.serialized) struct SubscribeTimeTests {
  /// Says from now on, by itself, that it is alive and how far its work is.
  private static func beating(_ member: MemberClient, _ progress: Progress) throws -> RepeatedTask {
    let heartbeat = MemberHeartbeat(epoch: member.epoch, progress: progress)
    return try #require(
      member.stream.send(SubscribeRequest(heartbeat: heartbeat), every: .milliseconds(100)))
  }

  /// How a member was removed, and by what.
  private static func removal(_ member: MemberClient) async throws -> String {
    while try await member.next() != nil {}
    let fault = try await member.stream.fault()
    return "\(fault.reason.name) \(fault.metadata["cause"] ?? "")"
  }

  /// Two members with a partition each, who have a second for each step of their work.
  private static func pair(_ fixture: GroupFixture) async throws -> (MemberClient, MemberClient) {
    let a = try await MemberClient.join(fixture.connection) { $0.processingMs = 1_000 }
    try await a.until { $0.owned.count == 2 }
    #expect(a.joined?.processingMs == 1_000)
    let b = try await MemberClient.open(fixture.connection) { $0.processingMs = 1_000 }
    try await a.until { $0.revoking.count == 1 }
    try await a.release()
    try await b.until { $0.owned.count == 1 }
    return (a, b)
  }

  /// G11: time for work is asked for, a deadline each time; who is alive and asks for none is removed.
  @Test func whoIsSlowKeepsItsPartitionsWhileItExtendsItsDeadline() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    try await fixture.publish(1, to: 0..<2)
    let (slow, stuck) = try await Self.pair(fixture)
    let began = ContinuousClock.now
    let hearts = [try Self.beating(slow, .advanced), try Self.beating(stuck, .working)]
    #expect(try await Self.removal(stuck) == "MEMBER_EXPIRED processing")
    #expect(ContinuousClock.now - began >= .milliseconds(900))
    try await slow.until { $0.owned == [0, 1] && $0.values.count == 2 }
    // Past twice its deadline with the same record.
    while ContinuousClock.now - began < .milliseconds(2_200) {
      try await slow.heartbeat { $0.progress = .advanced }
      _ = try await slow.first(\.heartbeat)
      try await Task.sleep(for: .milliseconds(100))
    }
    #expect(slow.owned == [0, 1] && slow.revoking.isEmpty)
    #expect(try await slow.commit([0: 1, 1: 1]) == [:])
    // Nothing to do is no deadline either.
    for heart in hearts { heart.cancel() }
    let idle = try Self.beating(slow, .idle)
    try await Task.sleep(for: .milliseconds(1_300))
    #expect(try await slow.commit([0: 1]) == [:])
    idle.cancel()
    let heart = try Self.beating(slow, .working)
    #expect(try await Self.removal(slow) == "MEMBER_EXPIRED processing")
    heart.cancel()
    await fixture.end()
  }

  /// G8, G11: what does not come back in time goes without its owner, however often that asks for time.
  @Test(arguments: [Progress.working, .advanced])
  func aHandoverIsBounded(_ progress: Progress) async throws {
    let fixture = try await GroupFixture.start(partitions: 2) {
      if progress == .advanced { $0.groups.times.handover = 1_600 }
    }
    try await fixture.publish(3, to: 0..<2)
    let a = try await MemberClient.join(fixture.connection) { $0.processingMs = 1_000 }
    try await a.until { $0.values.count == 6 }
    #expect(try await a.commit([0: 2, 1: 1]) == [:])
    let b = try await MemberClient.open(fixture.connection)
    try await a.until { $0.revoking.count == 1 }
    let began = ContinuousClock.now
    #expect((900...1_000).contains(a.assignment?.revokeWithinMs ?? 0))
    let heart = try Self.beating(a, progress)
    // Until the last moment its commits count.
    #expect(try await a.commit([0: 2, 1: 2]) == [:])
    try await b.until { $0.owned == [0, 1] && $0.values.count == 2 }
    let took = ContinuousClock.now - began
    #expect(took >= .milliseconds(progress == .advanced ? 1_400 : 900), "\(took)")
    #expect(b.received == [0: [2], 1: [2]])
    #expect(try await Self.removal(a) == "MEMBER_EXPIRED revocation")
    heart.cancel()
    try await b.leave()
    await fixture.end()
  }

  // MARK: A broker that goes away

  /// Members come back with what they had, where they were, whether they were told to go or their stream broke.
  @Test(arguments: [false, true])
  func whenTheBrokerIsBackNothingHasMoved(_ isKilled: Bool) async throws {
    let fixture = try await GroupFixture.start(partitions: 4)
    try await fixture.publish(5, to: 0..<4)
    let a = try await MemberClient.join(fixture.connection)
    try await a.until { $0.values.count == 20 }
    #expect(try await a.commit([0: 5, 1: 5, 2: 5, 3: 5]) == [:])
    let b = try await MemberClient.open(fixture.connection)
    try await a.until { $0.revoking.count == 2 }
    try await a.release()
    try await b.until { $0.owned.count == 2 }
    try await fixture.publish(1, to: 0..<4, first: 5)
    try await a.until { $0.values.count == 22 }
    try await b.until { $0.values.count == 2 }

    if isKilled { await fixture.test.kill() } else { await fixture.test.stop() }
    for member in [a, b] {
      var goAway: GoAway?
      while let response = try await member.next() { goAway = response.goAway ?? goAway }
      #expect((goAway?.resume == true) == !isKilled)
    }
    let test = try await TestBroker.start(folder: fixture.test.folder, identities: fixture.test.issuer)
    let back = GroupFixture(test: test, connection: try await test.connect())
    for member in [a, b] {
      let again = try await member.resume(back.connection)
      try await again.until { $0.assignment != nil }
      #expect(again.assignment?.epoch == member.epoch && again.assignment?.revoke.isEmpty == true)
      let lists = again.assignment?.partitions.flatMap(\.partitions) ?? []
      #expect(again.owned == member.owned && Set(lists) == member.owned)
      for partition in member.owned.sorted() {
        try await back.publish(1, to: partition..<partition + 1, first: 6)
      }
      // Not what was processed and not committed, though nobody wrote that down but the member.
      try await again.until { $0.values.count == 2 }
      #expect(Set(again.values) == Set(member.owned.map { "\($0)-6" }))
      #expect(try await again.commit(Dictionary(uniqueKeysWithValues: member.owned.map { ($0, 7) })) == [:])
    }
    #expect(try await back.committed() == [0: 7, 1: 7, 2: 7, 3: 7])
    #expect(try await back.description()?.members.count == 2)
    await fixture.connection.close()
    await back.end()
  }

  /// G19: it has the session's time, all of it, from when the broker is back.
  @Test func whoDoesNotComeBackToABrokerIsMissedAfterASession() async throws {
    let fixture = try await GroupFixture.start(partitions: 2)
    let a = try await MemberClient.join(fixture.connection)
    try await a.until { $0.owned.count == 2 }
    let b = try await MemberClient.open(fixture.connection)
    try await a.until { $0.revoking.count == 1 }
    try await a.release()
    try await b.until { $0.owned.count == 1 }
    await fixture.test.kill()
    let began = ContinuousClock.now
    let test = try await TestBroker.start(folder: fixture.test.folder, identities: fixture.test.issuer) {
      $0.groups.times.session = 1_500
      $0.groups.times.heartbeat = 300
    }
    let back = GroupFixture(test: test, connection: try await test.connect())
    let again = try await b.resume(back.connection)
    try await again.until { $0.assignment != nil }
    let heart = try Self.beating(again, .idle)
    try await again.until { $0.owned == [0, 1] }
    #expect(ContinuousClock.now - began >= .milliseconds(1_500))
    heart.cancel()
    try await again.leave()
    await fixture.connection.close()
    await back.end()
  }
}
