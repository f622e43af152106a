import CommitLog
import Simulation
import Testing

/// The power-cut model itself: it must be able to lose whatever no sync covers, and nothing else.
@Suite("Simulated disk")
struct SimulatedDiskTests {
  private func write(_ disk: SimulatedDisk, _ path: String, _ text: String) throws -> any DiskFile {
    let file = try disk.open(path, .create)
    try Array(text.utf8).withUnsafeBytes { try file.write([$0], at: 0) }
    return file
  }

  /// Which of the outcomes occur over many seeds.
  private func outcomes(_ prepare: (SimulatedDisk) throws -> Void, _ path: String) throws -> Set<String> {
    var seen: Set<String> = []
    for seed in 0..<UInt64(60) {
      let disk = SimulatedDisk(seed: seed)
      try prepare(disk)
      disk.powerCut(seed: seed)
      seen.insert(disk.contents(path).map { String(decoding: $0, as: UTF8.self) } ?? "absent")
    }
    return seen
  }

  @Test func bytesAndNamesAreDurableEachOnItsOwn() throws {
    let neither = try outcomes({ _ = try write($0, "a", "xy") }, "a")
    #expect(neither.isSuperset(of: ["absent", "", "xy"]))
    let bytesOnly = try outcomes({ try write($0, "a", "xy").sync() }, "a")
    #expect(bytesOnly == ["absent", "xy"])
    let both = try outcomes(
      { disk in
        try write(disk, "a", "xy").sync()
        try disk.syncDirectory("")
      }, "a")
    #expect(both == ["xy"])
    let nameOnly = try outcomes(
      { disk in
        _ = try write(disk, "a", "xy")
        try disk.syncDirectory("")
      }, "a")
    #expect(nameOnly.isSuperset(of: ["", "xy"]) && !nameOnly.contains("absent"))
  }

  @Test func renameIsOldOrNew() throws {
    let seen = try outcomes(
      { disk in
        try write(disk, "a", "old").sync()
        try write(disk, "b", "new").sync()
        try disk.syncDirectory("")
        try disk.rename("b", to: "a")
      }, "a")
    #expect(seen == ["old", "new"])
  }

  @Test func failedSyncShowsWhatItLost() throws {
    var lost = 0
    for seed in 0..<UInt64(40) {
      let disk = SimulatedDisk(seed: seed)
      let file = try write(disk, "a", "xy")
      try disk.syncDirectory("")
      disk.inject(DiskFault(.sync, .error(.io)))
      #expect(throws: DiskError.self) { try file.sync() }
      try file.sync()
      #expect(disk.contents("a") == Array("xy".utf8))
      disk.powerCut(seed: seed)
      if disk.contents("a") != Array("xy".utf8) { lost += 1 }
    }
    #expect((1..<40).contains(lost))
  }

  @Test func crashStopsEverythingUntilRestart() throws {
    let disk = SimulatedDisk(seed: 1)
    let file = try write(disk, "a", "xy")
    disk.crash(atOperation: disk.operations + 1)
    #expect(throws: DiskError.self) { try file.sync() }
    #expect(throws: DiskError.self) { _ = try disk.list("") }
    disk.kill()
    #expect(throws: DiskError.self) { _ = try file.size() }
    #expect(try disk.list("").map(\.name) == ["a"])
  }

  @Test func spaceAndLocks() throws {
    let disk = SimulatedDisk(seed: 1, capacity: 100)
    let file = try disk.open("a", .create)
    try file.allocate(from: 0, count: 80)
    #expect(try file.size() == 0)
    #expect(try disk.space().free == 20)
    #expect { _ = try disk.open("b", .create).allocate(from: 0, count: 21) } throws: {
      ($0 as? DiskError)?.kind == .noSpace
    }
    let lock = try disk.lock("lock")
    #expect { _ = try disk.lock("lock") } throws: { ($0 as? DiskError)?.kind == .locked }
    withExtendedLifetime(lock) {}
  }

  @Test func sameSeedSameDisk() throws {
    func run() throws -> [UInt8]? {
      let disk = SimulatedDisk(seed: 5)
      let file = try write(disk, "a", String(repeating: "q", count: 5000))
      try disk.syncDirectory("")
      try Array("zzz".utf8).withUnsafeBytes { try file.write([$0], at: 700) }
      disk.powerCut(seed: 77)
      return disk.contents("a")
    }
    #expect(try run() == run())
  }
}
