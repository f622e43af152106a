import Foundation
import GroupCoordination
import OffsetStorage
import SkeinCore
import Synchronization
import Testing
import Transport
import Wire

@testable import Broker

/// Members of a group whose offsets are in a store elsewhere, which is slow or does not answer.
@Suite(.serialized) struct SubscribeStoreTests {
  private static func start(
    _ control: SwitchStore.Control, _ configure: (inout BrokerConfiguration) -> Void = { _ in }
  ) async throws -> GroupFixture {
    try await GroupFixture.start(partitions: 1) {
      $0.groupOffsetStore = "far"
      $0.offsetStoreSources = [control.source("far")]
      configure(&$0)
    }
  }

  /// Consumption goes on up to the bound, then it waits; nothing is lost or skipped.
  @Test func whileTheStoreIsDownAMemberGetsABoundedAmount() async throws {
    let control = SwitchStore.Control()
    let fixture = try await Self.start(control) { $0.maximumUncommitted = 5 }
    try await fixture.publishSingly(3)
    let member = try await MemberClient.join(fixture.connection)
    #expect(member.joined?.offsetStore == "far")
    try await member.until { $0.values.count == 3 }
    #expect(try await member.commit([0: 2]) == [:])
    control.down(true)
    #expect(try await member.commit([0: 3]) == [0: .offsetStoreUnavailable])
    try await fixture.publishSingly(17)
    try await member.until { $0.values.count == 7 }
    try await member.beat()
    #expect(member.received[0] == Array(0..<7), "five records beyond the commit, which is 2")

    control.down(false)
    _ = await (try fixture.test.broker.context.groupOffsets.stores.store("far")).attempt()
    #expect(try await member.commit([0: 7]) == [:])
    try await member.until { $0.values.count == 20 }
    #expect(member.received[0] == Array(0..<20))
    try await member.leave()
    await fixture.end()
  }

  /// What was acknowledged meanwhile is committed when the store takes it, though nobody says anything more.
  @Test(arguments: [false, true])
  func whatWasAcknowledgedIsCommittedLater(_ isFull: Bool) async throws {
    let control = SwitchStore.Control()
    let fixture = try await Self.start(control)
    try await fixture.publishSingly(4)
    let member = try await MemberClient.join(fixture.connection)
    try await member.until { $0.values.count == 4 }
    control.state.withLock { ($0.isFull, $0.isDown) = (isFull, !isFull) }
    try await member.ack([(0, 0, 3)])
    let told = try await member.first(\.committed)
    #expect(
      told.results.compactMap(\.error).map { Fault($0).reason } == [
        isFull ? .diskFull : .offsetStoreUnavailable
      ])
    control.state.withLock { ($0.isFull, $0.isDown) = (false, false) }
    let key = GroupKey(tenant: "default", name: "g")
    let store = try fixture.test.broker.context.groupOffsets.stores.store("far")
    var committed: Int64?
    for _ in 0..<600 where committed == nil {
      committed = try? await store.fetch(key, nil).first?.committed.offset.rawValue
      try await Task.sleep(for: .milliseconds(10))
    }
    #expect(committed == 4)
    try await member.leave()
    await fixture.end()
  }

  /// Where the group stands cannot be asked: the member is told, once, and the partition begins later.
  @Test func whoseStartCannotBeFoundWaits() async throws {
    let control = SwitchStore.Control()
    let fixture = try await Self.start(control)
    try await fixture.publishSingly(4)
    let first = try await MemberClient.join(fixture.connection)
    try await first.until { $0.values.count == 4 }
    #expect(try await first.commit([0: 3]) == [:])
    try await first.leave()
    control.down(true)
    let member = try await MemberClient.join(fixture.connection)
    #expect(Fault(try #require(try await member.first(\.error).error)).reason == .offsetStoreUnavailable)
    #expect(member.values.isEmpty)
    #expect(member.joined?.offsetStore == "far")
    control.down(false)
    _ = await (try fixture.test.broker.context.groupOffsets.stores.store("far")).attempt()
    try await member.until { $0.values.count == 1 }
    #expect(member.received[0] == [3])
    try await member.leave()
    await fixture.end()
  }

  /// A partition is not given back before the commits of it have arrived where they go.
  @Test func aReleaseDoesNotOvertakeACommit() async throws {
    let control = SwitchStore.Control()
    let fixture = try await Self.start(control)
    try await fixture.publishSingly(4)
    let a = try await MemberClient.join(fixture.connection)
    try await a.until { $0.values.count == 4 }
    #expect(try await a.commit([0: 1]) == [:])
    let (_, release) = control.holdNextCommit()
    let b = try await MemberClient.join(fixture.connection) { $0.instanceID = "b" }
    #expect(b.owned.isEmpty)
    // What it leaves is b's.
    try await a.heartbeat { $0.topics = ["elsewhere"] }
    try await a.until { $0.revoking == [0] }
    let id = try await a.send(commit: [0: 4])
    try await a.release()
    while control.state.withLock({ $0.commits }) < 2 { try await b.beat() }
    for _ in 0..<5 { try await b.beat() }
    #expect(b.owned.isEmpty && a.commits[id] == nil)
    release.finish()
    try await b.until { $0.owned == [0] }
    try await a.until { $0.commits[id] != nil }
    try await fixture.publishSingly(1)
    try await b.until { $0.values.count == 1 }
    #expect(b.received[0] == [4])
    try await a.leave()
    try await b.leave()
    await fixture.end()
  }
}
