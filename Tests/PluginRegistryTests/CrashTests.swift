import CommitLog
import MetadataStore
import PluginPackage
import PluginRegistry
import Simulation
import SkeinCore
import Testing

/// The power fails during every single disk operation of an install, and of a removal: afterwards there is the whole
/// version or nothing of it, everything in the catalogue loads, and the store has nothing else.
@Suite struct CrashTests {
  private static let old = "com.acme.sticky@1.0.0"
  private static let new = "com.acme.sticky@2.0.0"

  private func base() async throws -> SimulatedDisk {
    let disk = SimulatedDisk(seed: 11)
    let fixture = try await Fixture.trusting(disk)
    try await fixture.install(try Sample.package("1.0.0"))
    await fixture.store.close()
    return disk
  }

  /// - Parameter isAllowed: which catalogues may be there afterwards, given whether the change said that it was made.
  private func crashEverywhere(
    _ change: (Fixture) async throws -> Void, isAllowed: (_ names: [String], _ succeeded: Bool) -> Bool
  ) async throws {
    let base = try await base()
    // The first operation after now has the number of those before, plus one.
    var number = 1
    while true {
      let disk = base.clone(seed: UInt64(number) &+ 1)
      let fixture = try await Fixture.open(disk)
      disk.crash(atOperation: disk.operations + number)
      var succeeded = false
      do {
        try await change(fixture)
        succeeded = true
      } catch {
        #expect(disk.isOff, "operation \(number): \(error)")
      }
      let crashed = disk.isOff
      disk.crash(atOperation: nil)
      disk.powerCut(seed: UInt64(number))
      await fixture.store.close()

      let after = try await Fixture.open(disk)
      let names = try await after.names
      #expect(isAllowed(names, succeeded), "operation \(number): \(names)")
      var expected: Set<String> = []
      for entry in try await after.registry.list() {
        _ = try await after.registry.artifact(entry.reference)
        expected.insert("sha256-\(entry.sha256)")
      }
      let folders = try disk.list("store").map(\.name)
      #expect(Set(folders) == expected, "operation \(number)")
      #expect(try disk.list("staging").isEmpty, "operation \(number)")
      await after.store.close()
      number += 1
      if !crashed { break }
    }
    #expect(number > 8)
  }

  @Test func anInstallIsWholeOrNothing() async throws {
    let package = try Sample.package("2.0.0")
    try await crashEverywhere {
      try await $0.install(package)
    } isAllowed: { names, succeeded in
      names == [Self.old, Self.new] || (!succeeded && names == [Self.old])
    }
  }

  @Test func aRemovalIsWholeOrNothing() async throws {
    try await crashEverywhere { fixture in
      _ = try await fixture.registry.remove(try PluginReference(parsing: Self.old)) { _ in [] }
    } isAllowed: { names, succeeded in
      names.isEmpty || (!succeeded && names == [Self.old])
    }
  }
}
