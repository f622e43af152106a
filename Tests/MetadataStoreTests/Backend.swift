import CommitLog
import MetadataStore
import Simulation

/// What the conformance suite runs on.
enum Backend: String, CaseIterable, CustomStringConvertible, Sendable {
  case sqliteOnFiles = "SQLite on files"
  case sqliteOnSimulation = "SQLite on the simulated disk"
  case etcd

  var description: String { rawValue }

  /// The ones that this machine can run; without etcd the suite `EtcdStoreTests` is skipped and says why.
  static let available: [Backend] = allCases.filter { $0 != .etcd || EtcdServer.isInstalled }
}

/// A store for one test, and keys that no other test uses.
struct Fixture: Sendable {
  let store: any MetadataStore
  private let prefix: String
  /// Lets so many seconds pass for leases.
  let advance: @Sendable (_ seconds: Int64) async throws -> Void

  init(
    store: any MetadataStore, prefix: String, advance: @escaping @Sendable (Int64) async throws -> Void
  ) {
    self.store = store
    self.prefix = prefix
    self.advance = advance
  }

  func key(_ name: String) -> [UInt8] { Array((prefix + name).utf8) }
  /// All keys of this test whose names begin so.
  func keys(_ name: String = "") -> KeyRange { .prefix(key(name)) }
  /// The keys of this test from one name to before another.
  func keys(_ from: String, below end: String) -> KeyRange { .from(key(from), below: key(end)) }
  /// The newest revision.
  func revision() async throws -> Revision { try await store.range(RangeRequest(keys())).revision }
}

/// Runs `body` on a store of that kind and closes it.
func withStore(_ backend: Backend, _ body: (Fixture) async throws -> Void) async throws {
  switch backend {
  case .sqliteOnFiles:
    try await withTemporaryDisk { disk in try await withSQLite(on: disk, body) }
  case .sqliteOnSimulation:
    try await withSQLite(on: SimulatedDisk(seed: 1), body)
  case .etcd:
    try await EtcdServer.withStore(body)
  }
}

private func withSQLite(on disk: any Disk, _ body: (Fixture) async throws -> Void) async throws {
  let time = SimulatedTime()
  let store = try await SQLiteStore.open(
    disk: disk, path: "metadata.db", time: time, random: SeededRandom(seed: 7))
  let fixture = Fixture(store: store, prefix: "/t/") { seconds in
    time.advance(milliseconds: seconds * 1_000)
    try await store.expireLeases()
  }
  do {
    try await body(fixture)
  } catch {
    await store.close()
    throw error
  }
  await store.close()
}
