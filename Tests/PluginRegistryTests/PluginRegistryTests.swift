import CommitLog
import Glibc
import MetadataStore
import PluginPackage
import PluginRegistry
import Simulation
import SkeinCore
import Synchronization
import Testing

@Suite struct PluginRegistryTests {
  private let first = "com.acme.sticky@1.0.0"

  @Test func versionsStandSideBySideAndOutliveARestart() async throws {
    let disk = SimulatedDisk(seed: 1)
    var fixture = try await Fixture.trusting(disk)
    for version in ["1.0.0", "1.1.0"] {
      let installed = try await fixture.install(try Sample.package(version))
      #expect(!installed.wasThere && installed.entry.trust == .trusted && installed.entry.isEnabled)
      #expect(installed.passed.last == PassedCheck("probe", "probed"))
    }
    await fixture.store.close()
    fixture = try await Fixture.open(disk)
    #expect(try await fixture.names == [first, "com.acme.sticky@1.1.0"])
    let reference = try PluginReference(parsing: first)
    let artifact = try await fixture.registry.artifact(reference)
    #expect(Digest.hexadecimal(artifact.bytes) == artifact.sha256 && artifact.trust == .trusted)
    await fixture.store.close()
  }

  @Test func aVersionNeverChanges() async throws {
    let fixture = try await Fixture.trusting(SimulatedDisk(seed: 2))
    try await fixture.install(try Sample.package("1.0.0"))
    #expect(try await fixture.install(try Sample.package("1.0.0")).wasThere)
    #expect(
      await reason { try await fixture.install(try Sample.package("1.0.0", salt: "other")) }
        == "PLUGIN_EXISTS")
    #expect(
      await reason { try await fixture.install(try Sample.package("1.0.0", publisher: "Evil")) }
        == "PLUGIN_EXISTS")
    #expect(try await fixture.names == [first])
    await fixture.store.close()
  }

  @Test func whatFailsLeavesNothing() async throws {
    let disk = SimulatedDisk(seed: 3)
    let fixture = try await Fixture.trusting(disk)
    let before = Set(disk.allFiles())
    #expect(
      await reason { try await fixture.install(try Sample.package("1.0.0", signed: false)) }
        == "PLUGIN_REFUSED:policy")
    #expect(
      await reason {
        _ = try await fixture.registry.install(package: try Sample.package("1.0.0"), by: "admin") {
          (_) throws(Fault) -> String in throw Fault(.pluginProbeFailed, "it crashed")
        }
      } == "PLUGIN_PROBE_FAILED")
    try await fixture.install(try Sample.package("1.0.0"), verifyOnly: true)
    disk.setCapacity(1)
    #expect(await reason { try await fixture.install(try Sample.package("1.0.0")) } == "DISK_FULL")
    #expect(Set(disk.allFiles()) == before)
    #expect(try await fixture.names.isEmpty)
    await fixture.store.close()
  }

  @Test func changesOfAVersion() async throws {
    let disk = SimulatedDisk(seed: 4)
    let fixture = try await Fixture.trusting(disk)
    let registry = fixture.registry
    try await fixture.install(try Sample.package("1.0.0"))
    let reference = try PluginReference(parsing: first)
    #expect(try await registry.setEnabled(reference, false).isEnabled == false)
    #expect(try await registry.setGrants(reference, [.inProcess]).grants == [.inProcess])
    #expect(try await registry.artifact(reference).grants == [.inProcess])
    #expect(
      await reason { _ = try await registry.remove(reference) { _ in ["topic orders"] } } == "PLUGIN_IN_USE")
    #expect(try await fixture.names == [first])
    _ = try await registry.remove(reference) { _ in [] }
    #expect(try await fixture.names.isEmpty && !disk.allFiles().contains { $0.contains("store/") })
    #expect(await reason { _ = try await registry.artifact(reference) } == "PLUGIN_NOT_FOUND")
    #expect(await reason { _ = try await registry.setEnabled(reference, true) } == "PLUGIN_NOT_FOUND")
    await fixture.store.close()
  }

  /// Somebody begins to use a version after the removal has asked who does: it is told that the version is gone.
  @Test func whoComesBetweenARemovalsQuestionAndItsEndIsTold() async throws {
    let fixture = try await Fixture.trusting(SimulatedDisk(seed: 12))
    try await fixture.install(try Sample.package("1.0.0"))
    let registry = fixture.registry
    let reference = try PluginReference(parsing: first)
    #expect(try await registry.entryForUse(reference).isEnabled)
    let late = Latecomer()
    _ = try await registry.remove(reference) { _ in
      late.come { await reason { _ = try await registry.entryForUse(reference) } }
      // Room for an answer that must not come.
      for _ in 0..<400 where !late.hasAnswer { usleep(2_000) }
      #expect(!late.hasAnswer)
      return []
    }
    #expect(await late.answer == "PLUGIN_NOT_FOUND")
    await fixture.store.close()
  }

  @Test func inTheBrokerRunsOnlyWhatMay() async throws {
    let fixture = try await Fixture.open(SimulatedDisk(seed: 5), allowDev: true)
    try await fixture.install(try Sample.package("1.0.0", signed: false))
    let dev = try PluginReference(parsing: first)
    #expect(try await fixture.registry.entry(dev).trust == .dev)
    #expect(
      await reason { _ = try await fixture.registry.setGrants(dev, [.inProcess]) } == "PLUGIN_REFUSED:policy")
    _ = try await fixture.registry.addKey(name: "acme", pem: try Sample.keys.get().publicPEM, by: "admin")
    try await fixture.install(try Sample.package("1.0.0", id: "com.acme.auth", kind: .authenticator))
    let authenticator = try PluginReference(parsing: "com.acme.auth@1.0.0")
    #expect(
      await reason { _ = try await fixture.registry.setGrants(authenticator, [.inProcess]) }
        == "PLUGIN_REFUSED:policy")
    #expect(try await fixture.registry.setGrants(authenticator, [.network]).grants == [.network])
    await fixture.store.close()
  }

  @Test func keys() async throws {
    let fixture = try await Fixture.trusting(SimulatedDisk(seed: 6))
    let registry = fixture.registry
    try await fixture.install(try Sample.package("1.0.0"))
    let reference = try PluginReference(parsing: first)
    let key = try #require(try await registry.keys().first)
    #expect(key.name == "acme" && key.level == .trusted && key.addedBy == "admin")
    #expect(await reason { _ = try await registry.removeKey(key.id) { _ in ["topic a"] } } == "PLUGIN_IN_USE")
    _ = try await registry.removeKey(key.id) { _ in [] }
    // What it signed is not loaded again.
    #expect(await reason { _ = try await registry.artifact(reference) } == "PLUGIN_REFUSED:policy")
    #expect(try await registry.entry(reference).trust == nil)
    #expect(await reason { _ = try await registry.removeKey(key.id) { _ in [] } } == "PLUGIN_KEY_NOT_FOUND")
    #expect(
      await reason { _ = try await registry.addKey(name: "x", pem: "no key", by: "a") } == "INVALID_REQUEST")
    #expect(
      await reason { _ = try await registry.addKey(name: "", pem: key.pem, by: "a") } == "INVALID_REQUEST")
    await fixture.store.close()
  }

  @Test func moreKeysThanTheLimit() async throws {
    let fixture = try await Fixture.open(SimulatedDisk(seed: 9))
    for number in 0..<PluginRegistry.mostKeys {
      let pem = try Signature.generate().publicPEM
      _ = try await fixture.registry.addKey(name: "k\(number)", pem: pem, by: "admin")
    }
    let more = try Signature.generate().publicPEM
    #expect(
      await reason { _ = try await fixture.registry.addKey(name: "x", pem: more, by: "a") } == "PLUGIN_LIMIT")
    await fixture.store.close()
  }

  @Test func whatSkeinsOwnKeySignedIsVerified() async throws {
    let pem = try Sample.keys.get().publicPEM
    let fixture = try await Fixture.open(SimulatedDisk(seed: 7), releaseKey: pem)
    #expect(try await fixture.install(try Sample.package("1.0.0")).entry.trust == .verified)
    let id = try Signature.keyID(publicKeyPEM: pem)
    #expect(await reason { _ = try await fixture.registry.removeKey(id) { _ in [] } } == "INVALID_REQUEST")
    await fixture.store.close()
  }

  @Test func unsignedOnesAreLoadedOnlyWhileTheyMay() async throws {
    let disk = SimulatedDisk(seed: 8)
    var fixture = try await Fixture.open(disk, allowDev: true)
    try await fixture.install(try Sample.package("1.0.0", signed: false))
    await fixture.store.close()
    fixture = try await Fixture.open(disk)
    let reference = try PluginReference(parsing: first)
    #expect(await reason { _ = try await fixture.registry.artifact(reference) } == "PLUGIN_REFUSED:policy")
    await fixture.store.close()
  }
}

/// Asks on a task of its own.
private final class Latecomer: Sendable {
  private let answered = Atomic<Bool>(false)
  private let task = Mutex<Task<String?, Never>?>(nil)

  var hasAnswer: Bool { answered.load(ordering: .acquiring) }
  var answer: String? { get async { await task.withLock { $0 }?.value ?? nil } }

  func come(_ ask: @escaping @Sendable () async -> String?) {
    task.withLock {
      $0 = Task {
        let told = await ask()
        self.answered.store(true, ordering: .releasing)
        return told
      }
    }
  }
}
