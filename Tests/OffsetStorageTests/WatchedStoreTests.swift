import GroupCoordination
import OffsetStorage
import Simulation
import SkeinCore
import Synchronization
import Testing

/// A store that comes and goes.
@Suite struct WatchedStoreTests {
  private static let group = GroupKey(tenant: "t", name: "g")
  private static let offset = StoredOffset(
    partition: TopicPartition(topic: TopicID(high: 1, low: 1), partition: 0),
    committed: CommittedOffset(offset: Offset(1), leaderEpoch: 0, metadata: "", committedAt: 0),
    memberEpoch: 1)

  /// Fails while it is told to.
  private final class Flaky: OffsetStore {
    struct State {
      var fault: Fault?
      /// A try finds nothing wrong.
      var isOfCommitsOnly = false
      var calls = 0
      var opened = 0
      var closed = 0
    }
    let name = "flaky"
    let state = Mutex(State())
    private let inner = MemoryStore(MemoryStore.Medium(), nil)

    private func pass(isCommit: Bool = false) throws(Fault) {
      let fault = state.withLock { state in
        state.calls += 1
        return state.isOfCommitsOnly && !isCommit ? nil : state.fault
      }
      if let fault { throw fault }
    }
    func commit(_ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]) async throws(Fault) {
      try pass(isCommit: true)
      try await inner.commit(group, memberEpoch: memberEpoch, offsets)
    }
    func fetch(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) -> [StoredOffset] {
      try pass()
      return try await inner.fetch(group, partitions)
    }
    func scan(tenant: String, after token: String, limit: Int) async throws(Fault) -> StoredOffsetPage {
      try pass()
      return try await inner.scan(tenant: tenant, after: token, limit: limit)
    }
    func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) {
      try pass()
      try await inner.remove(group, partitions)
    }
    func close() async { state.withLock { $0.closed += 1 } }
  }

  private final class Downs: Sendable {
    let count = Mutex(0)
  }

  private func watched(_ flaky: Flaky, _ downs: Downs) -> WatchedStore {
    WatchedStore(
      name: "flaky", origin: "test", time: SimulatedTime(),
      open: { () throws(Fault) in
        flaky.state.withLock { $0.opened += 1 }
        if let fault = flaky.state.withLock({ $0.fault }) { throw fault }
        return flaky
      }, wentDown: { _ in downs.count.withLock { $0 += 1 } })
  }

  private static let down = Fault(.offsetStoreUnavailable, "it is gone", retryAfterMilliseconds: 70)

  @Test func theFirstFailureShutsAndATryOpensAgain() async throws {
    let (flaky, downs) = (Flaky(), Downs())
    let store = watched(flaky, downs)
    let early = await #expect(throws: Fault.self) { _ = try await store.fetch(Self.group, nil) }
    #expect(early?.reason == .offsetStoreUnavailable, "it is not open yet")
    await store.start()
    #expect(store.isAvailable)
    try await store.commit(Self.group, memberEpoch: 1, [Self.offset])

    flaky.state.withLock { $0.fault = Self.down }
    await #expect(throws: Fault.self) { _ = try await store.fetch(Self.group, nil) }
    #expect(!store.isAvailable && downs.count.withLock { $0 } == 1)
    let calls = flaky.state.withLock { $0.calls }
    for _ in 0..<10 {
      let fault = await #expect(throws: Fault.self) {
        try await store.commit(Self.group, memberEpoch: 1, [Self.offset])
      }
      #expect(fault?.reason == .offsetStoreUnavailable && fault?.retryAfterMilliseconds == 70)
    }
    #expect(flaky.state.withLock { $0.calls } == calls, "nobody asks what is known to be down")
    #expect(await store.attempt() == false)
    #expect(flaky.state.withLock { $0.calls } == calls + 1)
    flaky.state.withLock { $0.fault = nil }
    #expect(await store.attempt())
    #expect(store.isAvailable && downs.count.withLock { $0 } == 1)
    #expect(try await store.fetch(Self.group, nil).count == 1)
    let condition = store.condition
    #expect(condition.refused == 11 && condition.failures == 1 && condition.problem == nil)
  }

  /// A conflict is an answer, and so is every other refusal.
  @Test func aRefusalIsNoFailure() async throws {
    let (flaky, downs) = (Flaky(), Downs())
    let store = watched(flaky, downs)
    await store.start()
    for reason in [Reason.conflict, .invalidRequest, .overloaded] {
      flaky.state.withLock { $0.fault = Fault(reason, "no") }
      let fault = await #expect(throws: Fault.self) {
        try await store.commit(Self.group, memberEpoch: 1, [Self.offset])
      }
      #expect(fault?.reason == reason && store.isAvailable)
    }
    #expect(store.condition.conflicts == 1 && downs.count.withLock { $0 } == 0)
  }

  @Test func oneThatDoesNotOpenIsTriedUntilItDoes() async throws {
    let (flaky, downs) = (Flaky(), Downs())
    flaky.state.withLock { $0.fault = Self.down }
    let store = watched(flaky, downs)
    await store.start()
    #expect(!store.isAvailable && downs.count.withLock { $0 } == 1)
    async let recovered: Void = store.recover()
    while flaky.state.withLock({ $0.opened }) < 3 { try await Task.sleep(for: .milliseconds(5)) }
    flaky.state.withLock { $0.fault = nil }
    await recovered
    #expect(store.isAvailable)
    await store.close()
    #expect(flaky.state.withLock { $0.closed } == 1)
    let closed = await #expect(throws: Fault.self) { _ = try await store.fetch(Self.group, nil) }
    #expect(closed?.reason == .draining)
    await store.recover()
  }

  /// It fails again the moment that it was found well, again and again: somebody always tries on.
  @Test func whateverGoesDownIsTriedAgain() async throws {
    let flaky = Flaky()
    let store = WatchedStore(
      name: "flaky", origin: "test", time: LongTime(), open: { () throws(Fault) in flaky },
      wentDown: { store in Task.immediate { await store.recover() } })
    await store.start()
    flaky.state.withLock {
      $0.fault = Self.down
      $0.isOfCommitsOnly = true
    }
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<4 {
        group.addTask {
          for _ in 0..<10_000 {
            try? await store.commit(Self.group, memberEpoch: 1, [Self.offset])
            await Task.yield()
          }
        }
      }
    }
    flaky.state.withLock { $0.fault = nil }
    for _ in 0..<200 where !store.isAvailable { try await Task.sleep(for: .milliseconds(10)) }
    #expect(store.isAvailable)
    #expect(store.condition.failures > 100)
    await store.close()
  }

  /// Each time is long after the one before.
  private final class LongTime: TimeSource {
    private let hours = Mutex<Int64>(0)
    var wallMilliseconds: Int64 { 0 }
    var monotonicNanoseconds: Int64 {
      hours.withLock { hours in
        hours += 1
        return hours * 3_600_000_000_000
      }
    }
  }

  /// A full disk: whatever is tried works, and no commit does. It is not found well a thousand times a second.
  @Test func afterARelapseItIsTriedLater() async throws {
    let (flaky, time) = (Flaky(), SimulatedTime())
    let store = WatchedStore(
      name: "flaky", origin: "test", time: time, open: { () throws(Fault) in flaky },
      wentDown: { store in Task.detached { await store.recover() } })
    await store.start()
    flaky.state.withLock {
      $0.fault = Self.down
      $0.isOfCommitsOnly = true
    }
    func outage() async throws -> Duration {
      let began = ContinuousClock.now
      try? await store.commit(Self.group, memberEpoch: 1, [Self.offset])
      while !store.isAvailable { try await Task.sleep(for: .milliseconds(2)) }
      return ContinuousClock.now - began
    }
    _ = try await outage()
    #expect(try await outage() >= .milliseconds(195))
    #expect(try await outage() >= .milliseconds(395))
    // After a time without failures it is forgiven.
    time.advance(milliseconds: 60_000)
    let calls = flaky.state.withLock { $0.calls }
    _ = try await outage()
    #expect(flaky.state.withLock { $0.calls } == calls + 2)
    #expect(try await outage() >= .milliseconds(195))
    #expect(try await outage() < .seconds(4), "the pauses begin anew")
    await store.close()
  }
}
