import GroupCoordination
import MetadataStore
import OffsetStorage
import Simulation
import SkeinCore
import Synchronization

@testable import Broker

/// A store that answers when the test lets it: SQLite on a simulated disk behind a switch. Any thread.
final class SwitchStore: OffsetStore {
  /// What lives longer than an opened store.
  final class Control: Sendable {
    struct State {
      var isDown = false
      /// It answers, and takes no commit.
      var isFull = false
      var opened = 0
      var commits = 0
      var fetches = 0
      /// Called before a commit, once for each.
      var beforeCommit: [@Sendable () async -> Void] = []
      /// What a fetch gives instead of what is stored.
      var altersFetches = false
    }
    let state = Mutex(State())
    let disk = SimulatedDisk(seed: 7)

    /// The next commit waits: `reached` ends when it is there, finishing `release` lets it go on.
    func holdNextCommit() -> (reached: AsyncStream<Void>, release: AsyncStream<Void>.Continuation) {
      let (reached, arrive) = AsyncStream.makeStream(of: Void.self)
      let (released, release) = AsyncStream.makeStream(of: Void.self)
      state.withLock {
        $0.beforeCommit = [
          {
            arrive.finish()
            for await _ in released {}
          }
        ]
      }
      return (reached, release)
    }

    func down(_ isDown: Bool) { state.withLock { $0.isDown = isDown } }

    func source(_ name: String) -> OffsetStores.Source {
      OffsetStores.Source(name: name, origin: "test") { () throws(Fault) in
        if self.state.withLock({ $0.isDown }) { throw SwitchStore.down(name) }
        self.state.withLock { $0.opened += 1 }
        do throws(MetadataError) {
          return SwitchStore(
            name, self,
            try await SQLiteOffsetStore.open(
              disk: self.disk, path: "offsets.db", time: SimulatedTime(), random: SeededRandom(seed: 1)))
        } catch {
          throw Fault(.offsetStoreUnavailable, error.message)
        }
      }
    }
  }

  let name: String
  private let control: Control
  private let inner: SQLiteOffsetStore

  private init(_ name: String, _ control: Control, _ inner: SQLiteOffsetStore) {
    self.name = name
    self.control = control
    self.inner = inner
  }

  static func down(_ name: String) -> Fault {
    Fault(.offsetStoreUnavailable, "\(name) is switched off", retryAfterMilliseconds: 50)
  }

  private func check() throws(Fault) {
    if control.state.withLock({ $0.isDown }) { throw Self.down(name) }
  }

  func commit(_ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]) async throws(Fault) {
    let before = control.state.withLock { state in
      state.commits += 1
      return state.beforeCommit.isEmpty ? nil : state.beforeCommit.removeFirst()
    }
    await before?()
    try check()
    if control.state.withLock({ $0.isFull }) { throw Fault(.diskFull, "\(name) has no room") }
    try await inner.commit(group, memberEpoch: memberEpoch, offsets)
  }

  func fetch(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) -> [StoredOffset] {
    control.state.withLock { $0.fetches += 1 }
    try check()
    var found = try await inner.fetch(group, partitions)
    if control.state.withLock({ $0.altersFetches }), !found.isEmpty { found[0].committed.metadata += "?" }
    return found
  }

  func scan(tenant: String, after token: String, limit: Int) async throws(Fault) -> StoredOffsetPage {
    try check()
    return try await inner.scan(tenant: tenant, after: token, limit: limit)
  }

  func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) {
    try check()
    try await inner.remove(group, partitions)
  }

  func close() async { await inner.close() }
}
