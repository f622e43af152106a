package import GroupCoordination
package import SkeinCore
import Synchronization

/// A store that may not be there: opened when it can be, given up at its first failure, tried again by `recover` with a
/// growing pause until it answers. While it is down, calls are refused at once instead of waiting for a deadline each.
///
/// Threading: any.
package final class WatchedStore: OffsetStore {
  /// How it stands, for people and metrics.
  package struct Condition: Sendable {
    /// nil = it answers.
    package var problem: Fault?
    package var calls: UInt64 = 0
    /// Calls that the store did not answer; those that were refused meanwhile do not count.
    package var failures: UInt64 = 0
    /// Commits that the store refused for what it holds.
    package var conflicts: UInt64 = 0
    package var refused: UInt64 = 0
    /// Spent in calls.
    package var nanoseconds: UInt64 = 0
  }

  private struct State {
    var store: (any OffsetStore)?
    var condition = Condition()
    var isClosed = false
    var isRecovering = false
    /// Monotonic nanoseconds; nil: it has not been down yet.
    var cameBackAt: Int64?
    /// Milliseconds before the first try of the newest recovery.
    var firstPause: Int64 = 0
  }

  private struct Opener: Sendable {
    let open: @Sendable () async throws(Fault) -> any OffsetStore
    let wentDown: @Sendable (WatchedStore) -> Void
  }

  package let name: String
  /// "built in", or ID@VERSION.
  package let origin: String
  private let opener: Opener
  private let time: any TimeSource
  private let state = Mutex(State())

  /// Pauses between two tries, milliseconds.
  package static let pauses: ClosedRange<Int64> = 100...5_000
  /// Who goes down again so soon after it was found well, in nanoseconds, was not: a full disk answers a try, and no commit.
  private static let relapse: Int64 = 10_000_000_000
  /// Whom a try asks for. Groups of the system tenant do not commit here.
  private static let probe = GroupKey(tenant: "system", name: "skein-probe")
  private static let probePartition = TopicPartition(topic: TopicID(high: 0, low: 0), partition: 0)

  /// - Parameters:
  ///   - open: asked again after each failure, if it failed itself.
  ///   - wentDown: told once for each time that it goes down, on any thread; `recover` is then to be run.
  package init(
    name: String, origin: String, time: any TimeSource,
    open: @escaping @Sendable () async throws(Fault) -> any OffsetStore,
    wentDown: @escaping @Sendable (WatchedStore) -> Void
  ) {
    self.name = name
    self.origin = origin
    self.time = time
    opener = Opener(open: open, wentDown: wentDown)
  }

  package var condition: Condition { state.withLock { $0.condition } }
  /// Whether a call is worth while.
  package var isAvailable: Bool { state.withLock { $0.condition.problem == nil } }

  /// Opens it; if that fails it is down, and `recover` goes on.
  package func start() async {
    do throws(Fault) {
      try await open()
    } catch {
      fail(error)
    }
  }

  /// Tries until it answers, it is closed, or the task is cancelled; at once, but after a relapse. One at a time; another
  /// returns at once.
  package func recover() async {
    guard let first = beginRecovery() else { return }
    if first > 0 { try? await Task.sleep(for: .milliseconds(first)) }
    var pause = max(first, Self.pauses.lowerBound)
    while !Task.isCancelled {
      if await attempt(), mayRest() { return }
      try? await Task.sleep(for: .milliseconds(pause))
      pause = min(pause * 2, Self.pauses.upperBound)
    }
    state.withLock { $0.isRecovering = false }
  }

  /// - Returns: milliseconds to wait; nil: somebody recovers it already.
  private func beginRecovery() -> Int64? {
    let now = time.monotonicNanoseconds
    return state.withLock { state in
      guard !state.isRecovering else { return nil }
      state.isRecovering = true
      let isRelapse = state.cameBackAt.map { now - $0 < Self.relapse } ?? false
      let longer = min(max(state.firstPause, Self.pauses.lowerBound) * 2, Self.pauses.upperBound)
      state.firstPause = isRelapse ? longer : 0
      return state.firstPause
    }
  }

  /// Ends the recovery, unless the store has gone down again meanwhile: who told of that saw that somebody tries.
  private func mayRest() -> Bool {
    state.withLock { state in
      guard state.condition.problem == nil || state.isClosed else { return false }
      state.isRecovering = false
      return true
    }
  }

  /// One try.
  /// - Returns: whether there is nothing more to try.
  package func attempt() async -> Bool {
    do throws(Fault) {
      _ = try await (try await open()).fetch(Self.probe, [Self.probePartition])
      let now = time.monotonicNanoseconds
      state.withLock { state in
        if state.condition.problem != nil { state.cameBackAt = now }
        state.condition.problem = nil
      }
      return true
    } catch {
      return state.withLock { state in
        state.condition.problem = error
        return state.isClosed
      }
    }
  }

  @discardableResult
  private func open() async throws(Fault) -> any OffsetStore {
    let (there, isClosed) = state.withLock { ($0.store, $0.isClosed) }
    guard !isClosed else { throw closed }
    if let there { return there }
    let made = try await opener.open()
    let kept = state.withLock { state -> (any OffsetStore)? in
      guard !state.isClosed, state.store == nil else { return state.store }
      state.store = made
      return made
    }
    // Somebody else was faster, or it was closed meanwhile.
    if kept !== made { await made.close() }
    guard let kept else { throw closed }
    return kept
  }

  package func close() async {
    let store = state.withLock { state in
      state.isClosed = true
      defer { state.store = nil }
      return state.store
    }
    await store?.close()
  }

  // MARK: OffsetStore

  package func commit(
    _ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]
  ) async throws(Fault) {
    try await call { (store) throws(Fault) in
      try await store.commit(group, memberEpoch: memberEpoch, offsets)
    }
  }

  package func fetch(
    _ group: GroupKey, _ partitions: [TopicPartition]?
  ) async throws(Fault) -> [StoredOffset] {
    try await call { (store) throws(Fault) in try await store.fetch(group, partitions) }
  }

  package func scan(
    tenant: String, after token: String, limit: Int
  ) async throws(Fault) -> StoredOffsetPage {
    try await call { (store) throws(Fault) in
      try await store.scan(tenant: tenant, after: token, limit: limit)
    }
  }

  package func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) {
    try await call { (store) throws(Fault) in try await store.remove(group, partitions) }
  }

  private func call<R: Sendable>(
    _ body: (any OffsetStore) async throws(Fault) -> R
  ) async throws(Fault) -> R {
    let ready = state.withLock { state -> Result<any OffsetStore, Fault> in
      if state.isClosed { return .failure(closed) }
      if let problem = state.condition.problem {
        state.condition.refused &+= 1
        return .failure(unavailable(problem))
      }
      guard let store = state.store else {
        state.condition.refused &+= 1
        return .failure(
          unavailable(Fault(.offsetStoreUnavailable, "it is being opened", retryAfterMilliseconds: 100)))
      }
      return .success(store)
    }
    let store = try ready.get()
    let began = time.monotonicNanoseconds
    do throws(Fault) {
      let result = try await body(store)
      count(since: began, nil)
      return result
    } catch {
      count(since: began, error)
      throw error
    }
  }

  private func count(since began: Int64, _ fault: Fault?) {
    let took = UInt64(max(0, time.monotonicNanoseconds - began))
    state.withLock { state in
      state.condition.calls &+= 1
      state.condition.nanoseconds &+= took
      if fault?.reason == .conflict { state.condition.conflicts &+= 1 }
    }
    if let fault, fault.reason == .offsetStoreUnavailable { fail(fault) }
  }

  private func fail(_ fault: Fault) {
    let wasUp = state.withLock { state in
      state.condition.failures &+= 1
      defer { state.condition.problem = fault }
      return state.condition.problem == nil && !state.isClosed
    }
    if wasUp { opener.wentDown(self) }
  }

  private func unavailable(_ problem: Fault) -> Fault {
    Fault(
      .offsetStoreUnavailable,
      "the offset store \(name) does not answer, and is asked again soon: \(problem.message)",
      metadata: ["store": name, "cause": problem.reason.name],
      retryAfterMilliseconds: problem.retryAfterMilliseconds ?? 500)
  }

  private var closed: Fault {
    Fault(.draining, "the offset store \(name) is closed; try another broker")
  }
}
