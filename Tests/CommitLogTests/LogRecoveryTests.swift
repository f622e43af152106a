@testable import CommitLog
import DiskIO
import Simulation
import SkeinCore
import Synchronization
import Testing

/// Restarts: damage, lost checkpoints, identity, and many idle partitions (R50-R54).
@Suite struct LogRecoveryTests {
  let disk = SimulatedDisk(seed: 6)

  private func filled(_ count: Int = 40) throws -> (LogHarness, PartitionLog) {
    let harness = try LogHarness(disk: disk) { $0.tailBudgetBytes = 0 }
    let log = harness.log(0, settings)
    for index in 0..<count {
      try harness.append(
        log, TestBatch(["\(index)" + String(repeating: "x", count: 200)], producer: 5, sequence: Int32(index))
      )
      try harness.flush()
    }
    return (harness, log)
  }

  private var settings: PartitionSettings {
    var settings = PartitionSettings()
    settings.segmentBytes = 3000
    return settings
  }

  private func checkpoints() -> [String] { disk.allFiles().filter { $0.hasPrefix("checkpoint-") } }

  @Test func aDamagedCheckpointFallsBackToTheOneBefore() throws {
    let (harness, _) = try filled()
    _ = try harness.directory.close()
    let newest = try #require(checkpoints().last)
    #expect(disk.flipBit(newest, byte: 60, bit: 3))
    disk.kill()
    let epoch = harness.directory.recovery.leaderEpoch
    try harness.restart()
    let log = harness.log(0, settings)
    #expect(log.leaderEpoch > epoch)
    #expect(try harness.readAll(log).count == 40)
    try harness.append(log, TestBatch(["next"], producer: 5, sequence: 40))
  }

  /// A journal that vanished takes acknowledged records with it unless the close was clean.
  @Test(arguments: [true, false]) func aLostJournalIsToldUnlessTheCloseWasClean(clean: Bool) throws {
    let (harness, _) = try filled()
    if clean { _ = try harness.directory.close() }
    disk.kill()
    for path in disk.allFiles() where path.hasPrefix(LogPaths.journal + "/") { try disk.remove(path) }
    try disk.removeDirectory(LogPaths.journal)
    if clean {
      try harness.restart()
      #expect(try harness.readAll(harness.log(0, settings)).count == 40)
    } else {
      #expect(throws: LogError.self) { try harness.restart() }
    }
  }

  @Test func withoutAnyCheckpointTheSegmentsTell() throws {
    let (harness, _) = try filled()
    _ = try harness.directory.close()
    for path in checkpoints() { #expect(disk.flipBit(path, byte: 9, bit: 0)) }
    disk.kill()
    let epoch = harness.directory.recovery.leaderEpoch
    try harness.restart()
    let log = harness.log(0, settings)
    #expect(log.leaderEpoch > epoch)
    #expect(try harness.readAll(log).count == 40)
    try harness.append(log, TestBatch(["next"], producer: 5, sequence: 40))
  }

  @Test func damageInASegmentIsFoundByTheReaderAndCutOutWhenAccepted() throws {
    let (harness, _) = try filled()
    _ = try harness.directory.close()
    let segment = try #require(disk.allFiles().first { $0.hasSuffix(".log") })
    // In the records of the third batch.
    #expect(disk.flipBit(segment, byte: 900, bit: 1))
    disk.kill()
    try harness.restart()
    let log = harness.log(0, settings)
    let fault = #expect(throws: Fault.self) { try harness.readAll(log) }
    #expect(fault?.reason == .dataCorrupt)
    #expect(throws: Fault.self) { try harness.append(log, "x") }
    #expect(harness.directory.acceptLoss(log.key))
    try harness.writeBehind()
    #expect(log.corruption == nil)
    let values = try harness.readAll(log)
    #expect(values.count == 39)
    try harness.append(log, TestBatch(["next"], producer: 5, sequence: 40))
    try harness.flush()
    disk.powerCut(seed: 9)
    try harness.restart()
    #expect(try harness.readAll(harness.log(0, settings)) == values + ["next"])
    #expect(!harness.directory.acceptLoss(log.key))
  }

  @Test func damagedIndexesAreRebuilt() throws {
    let (harness, _) = try filled(200)
    harness.directory.requestRound(recycle: true)
    _ = try harness.directory.close()
    for path in disk.allFiles() where path.hasSuffix(".index") { disk.overwrite(path, at: 0, [1, 2, 3, 4]) }
    disk.kill()
    try harness.restart()
    let log = harness.log(0, settings)
    for from in stride(from: 0, to: 200, by: 13) {
      #expect(try harness.readAll(log, from: Offset(Int64(from))).count == 200 - from)
    }
  }

  @Test func timesAreFoundInSegmentsAndInMemory() throws {
    let harness = try LogHarness(disk: disk) { $0.tailBudgetBytes = 0 }
    let log = harness.log(0, settings)
    let start = harness.time.wallMilliseconds
    for index in 0..<100 {
      try harness.append(log, TestBatch(["a", "b"], timestamp: start + Int64(index) * 10))
      try harness.flush()
      if index == 79 {
        harness.directory.requestRound()
        try harness.writeBehind()
      }
    }
    for (time, offset) in [(0, 0), (1, 2), (10, 2), (395, 80), (795, 160), (990, 198)] {
      let found = try harness.directory.find(log.offset(forTimestamp: start + Int64(time)))
      #expect(found?.offset == Offset(Int64(offset)), "\(time) ms")
    }
    #expect(try harness.directory.find(log.offset(forTimestamp: start + 991)) == nil)
  }

  @Test func aDirectoryBelongsToOneClusterAndOneProcess() throws {
    let harness = try LogHarness(disk: disk)
    #expect(throws: LogError.self) {
      try LogDirectory.open(
        disk: disk, configuration: harness.configuration, time: harness.time, random: harness.random)
    }
    var other = harness.configuration
    other.clusterID = "another"
    disk.kill()
    #expect(throws: LogError.self) {
      try LogDirectory.open(disk: disk, configuration: other, time: harness.time, random: harness.random)
    }
  }

  @Test func checkpointsOfAnyBytesDoNotTrap() throws {
    let (harness, _) = try filled(5)
    _ = try harness.directory.close()
    let path = try #require(checkpoints().last)
    let bytes = try #require(disk.contents(path))
    let random = SeededRandom(seed: 11)
    for _ in 0..<3000 {
      var hostile = bytes
      for _ in 0...random.below(3) {
        hostile[random.below(hostile.count)] = UInt8(truncatingIfNeeded: random.next())
      }
      if random.chance(30) { hostile.removeLast(random.below(hostile.count)) }
      // With the right checksum, so that the fields themselves are met.
      _ = Checkpoint(decoding: Self.sealed(hostile))
      _ = SegmentIndex(
        decoding: Self.sealed(hostile), key: TopicPartition(topic: LogHarness.topic, partition: 0), base: 0,
        end: 100, size: 10_000)
    }
  }

  private static func sealed(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.count >= 4 else { return bytes }
    let body = Array(bytes.dropLast(4))
    return body + withUnsafeBytes(of: CRC32C.checksum(body).littleEndian) { Array($0) }
  }

  /// 10,000 partitions with a record each: one checkpoint is read, no file of theirs is opened.
  @Test func idlePartitionsAreCheap() throws {
    let count: Int32 = 10_000
    let setup = try LogHarness(disk: disk) {
      $0.journal.fileSize = 8 << 20
      $0.bulkSyncAbove = 64
    }
    for number in 0..<count { try setup.append(setup.log(number), TestBatch(["x"], producer: 3)) }
    try setup.flush()
    _ = try setup.directory.close()
    disk.kill()
    let opened = Counter()
    disk.setHook { operation in
      if operation.kind == .open && operation.path.hasPrefix("topics/") { opened.add() }
      return .proceed
    }
    let elapsed = try ContinuousClock().measure { try setup.restart() }
    print("10,000 idle partitions start in \(elapsed) (debug)")
    #expect(setup.directory.allPartitions.count == Int(count))
    #expect(opened.value == 0)
    #expect(setup.directory.tailBytes == 0)
    // The bar of 3 s holds for release builds, which need about 0.1 s; here it only must not be quadratic.
    #expect(elapsed < .seconds(30))
    disk.setHook(nil)
  }
}

/// Counts from any thread.
final class Counter: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .relaxed) }
  func add() { count.add(1, ordering: .relaxed) }
}
