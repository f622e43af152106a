import CommitLog
import Simulation
import SkeinCore
import Testing

/// Rolling, retention, delete-records, deletion of topics, full disks (R34, R35, R57, R60).
@Suite struct LogRetentionTests {
  let disk = SimulatedDisk(seed: 5)

  private func harness(_ adjust: (inout LogConfiguration) -> Void = { _ in }) throws -> LogHarness {
    try LogHarness(disk: disk) {
      $0.tailBudgetBytes = 0
      adjust(&$0)
    }
  }

  private func settings(_ adjust: (inout PartitionSettings) -> Void) -> PartitionSettings {
    var settings = PartitionSettings()
    settings.segmentBytes = 2000
    settings.retentionMilliseconds = nil
    adjust(&settings)
    return settings
  }

  private func fill(_ harness: LogHarness, _ log: PartitionLog, _ count: Int) throws {
    for index in 0..<count {
      try harness.append(log, "\(index)" + String(repeating: "x", count: 300))
      try harness.flush()
    }
    try settle(harness)
  }

  /// Everything written, checkpointed, and what maintenance submits made durable.
  private func settle(_ harness: LogHarness) throws {
    for _ in 0..<2 {
      _ = try harness.directory.maintenanceStep()
      try harness.flush()
      harness.directory.requestRound(recycle: true)
      try harness.writeBehind()
    }
  }

  private func segments() -> [String] { disk.allFiles().filter { $0.hasSuffix(".log") } }

  @Test func retentionBySizeKeepsTheActiveSegment() throws {
    let harness = try harness()
    let log = harness.log(0, settings { $0.retentionBytes = 4000 })
    try fill(harness, log, 50)
    #expect(log.logStart > .zero)
    #expect(log.sizeInBytes < 8000)
    #expect(segments().count <= 4)
    #expect(try harness.readAll(log).count == Int(log.logStart.distance(to: log.logEnd)))
    let tiny = settings { $0.retentionBytes = 0 }
    log.setSettings(tiny)
    try settle(harness)
    #expect(segments().count == 1)
    #expect(try harness.readAll(log).isEmpty == false)
  }

  @Test func filesOfDeletedSegmentsAreUsedAgain() throws {
    let harness = try harness { $0.smallestRecycledBytes = 100 }
    let log = harness.log(0, settings { $0.retentionBytes = 4000 })
    try fill(harness, log, 60)
    #expect(disk.allFiles().contains { $0.hasPrefix("recycled/") })
    let created = Counter()
    disk.setHook { operation in
      if operation.kind == .createFile && operation.path.hasSuffix(".log") { created.add() }
      return .proceed
    }
    let before = segments().count
    for _ in 0..<10 { try fill(harness, log, 5) }
    #expect(created.value == 0)
    #expect(segments().count <= before + 1)
    disk.setHook(nil)
    let values = try harness.readAll(log)
    disk.powerCut(seed: 12)
    try harness.restart()
    #expect(try harness.readAll(harness.log(0, settings { $0.retentionBytes = 4000 })) == values)
  }

  @Test func retentionByTimeTakesWhatWasAppendedLongAgo() throws {
    let harness = try harness()
    let log = harness.log(
      0,
      settings {
        $0.retentionMilliseconds = 60_000
        $0.segmentMilliseconds = 30_000
      })
    try fill(harness, log, 20)
    #expect(log.logStart == .zero)
    // In small steps: a clock that jumps pauses retention.
    harness.time.advance(milliseconds: 61_000)
    try settle(harness)
    #expect(log.logStart == Offset(20))
    #expect(try harness.readAll(log) == [])
    try harness.append(log, "again")
    try harness.flush()
    #expect(try harness.readAll(log) == ["again"])
    disk.kill()
    try harness.restart()
    #expect(harness.log().logStart == Offset(20))
    #expect(try harness.readAll(harness.log()) == ["again"])
  }

  @Test func aJumpOfTheClockPausesRetention() throws {
    let harness = try harness()
    let log = harness.log(0, settings { $0.retentionMilliseconds = 60_000 })
    try fill(harness, log, 20)
    harness.time.jump(milliseconds: 3_600_000)
    try settle(harness)
    #expect(log.logStart == .zero)
    harness.time.jump(milliseconds: -3_600_000)
    try settle(harness)
    #expect(log.logStart == .zero)
    // A jump that lasts is believed after an hour.
    harness.time.jump(milliseconds: 3_600_000)
    try settle(harness)
    harness.time.advance(milliseconds: 3_600_001)
    try settle(harness)
    #expect(log.logStart > .zero)
  }

  @Test func withoutSettingsNothingIsDeleted() throws {
    let harness = try harness()
    try fill(harness, harness.log(0, settings { $0.retentionBytes = nil }), 50)
    let count = segments().count
    disk.kill()
    try harness.restart()
    try settle(harness)
    #expect(segments().count == count)
  }

  @Test func deletedRecordsStayDeleted() throws {
    let harness = try harness()
    let log = harness.log(0, settings { _ in })
    try fill(harness, log, 30)
    let entry = try log.deleteRecords(before: Offset(17))
    #expect(log.logStart == .zero)
    harness.directory.submit([entry])
    try harness.flush()
    #expect(log.logStart == Offset(17))
    #expect(try harness.readAll(log).first?.hasPrefix("17x") == true)
    #expect(throws: Fault.self) { try log.read(from: Offset(16), maxBytes: 1) }
    disk.powerCut(seed: 2)
    try harness.restart()
    let again = harness.log(0, settings { _ in })
    #expect(again.logStart == Offset(17))
    try settle(harness)
    #expect(!segments().contains { $0.hasSuffix("/00000000000000000000.log") })
    #expect(try harness.readAll(again).count == 13)
    #expect(throws: Fault.self) { try again.deleteRecords(before: Offset(31)) }
  }

  @Test func aReaderWithAnOldPlanIsToldThatItsSegmentIsGone() throws {
    let harness = try harness()
    let log = harness.log(0, settings { _ in })
    try fill(harness, log, 30)
    guard case .file(let plan) = try log.read(from: .zero, maxBytes: 1000) else {
      Issue.record("expected a file read")
      return
    }
    harness.directory.submit([try log.deleteRecords(before: Offset(30))])
    try harness.flush()
    try settle(harness)
    let fault = #expect(throws: Fault.self) { try harness.directory.read(plan) }
    #expect(fault?.reason == .offsetOutOfRange)
    #expect(log.corruption == nil)
  }

  @Test func deletedTopicsLeaveNothingAndStayAway() throws {
    let harness = try harness()
    let log = harness.log(0, settings { _ in })
    try fill(harness, log, 30)
    try harness.append(log, "unwritten")
    harness.directory.deleteTopic(LogHarness.topic)
    #expect(throws: Fault.self) { try log.read(from: .zero, maxBytes: 1) }
    try harness.flush()
    try settle(harness)
    #expect(segments().isEmpty)
    #expect(harness.directory.unwrittenBytes == 0 && harness.directory.tailBytes == 0)
    disk.powerCut(seed: 4)
    try harness.restart()
    #expect(harness.directory.allPartitions.isEmpty)
  }

  /// A start finishes deletions that a crash interrupted, and reconciles in the same breath.
  @Test func aTopicBeingDeletedIsNotSetAside() throws {
    let harness = try harness()
    try fill(harness, harness.log(0, settings { _ in }), 10)
    disk.kill()
    try harness.restart()
    harness.directory.deleteTopic(LogHarness.topic)
    #expect(try harness.directory.reconcile(topics: []) == [])
    try harness.flush()
    try settle(harness)
    #expect(!disk.allFiles().contains { $0.contains("\(LogHarness.topic)") })
  }

  @Test func unknownTopicsAreSetAsideNotDeleted() throws {
    let harness = try harness()
    try fill(harness, harness.log(0, settings { _ in }), 10)
    _ = try harness.directory.close()
    disk.kill()
    try harness.restart()
    let moved = try harness.directory.reconcile(topics: [])
    #expect(moved == [LogHarness.topic])
    #expect(harness.directory.allPartitions.isEmpty)
    #expect(disk.allFiles().contains { $0.hasPrefix("aside/\(LogHarness.topic)/0/") && $0.hasSuffix(".log") })
    disk.powerCut(seed: 4)
    try harness.restart()
    #expect(disk.allFiles().contains { $0.hasPrefix("aside/") })
  }

  @Test func aFullDiskRefusesProduceAndRecoversByItself() throws {
    let harness = try harness()
    let log = harness.log(0, settings { _ in })
    try fill(harness, log, 30)
    disk.setCapacity(0)
    _ = try harness.directory.maintenanceStep()
    guard case .full = harness.directory.state else {
      Issue.record("not full")
      return
    }
    let fault = #expect(throws: Fault.self) { try harness.append(log, "x") }
    #expect(fault?.reason == .diskFull)
    // Reading and deleting go on: the checkpoint finds room in the emergency file's place.
    #expect(try harness.readAll(log).count == 30)
    let used = disk.allFiles().reduce(0) { $0 + (disk.contents($1)?.count ?? 0) }
    disk.setCapacity(used + (64 << 10))
    harness.directory.submit([try log.deleteRecords(before: Offset(30))])
    try harness.flush()
    try settle(harness)
    #expect(segments().count == 1)
    disk.setCapacity(1 << 40)
    _ = try harness.directory.maintenanceStep()
    try harness.append(log, "x")
  }

  @Test func anIOErrorTakesTheDirectoryOfflineForEver() throws {
    let harness = try harness()
    let log = harness.log()
    try harness.append(log, "a")
    try harness.flush()
    try harness.append(log, "b")
    disk.inject(DiskFault(.sync, .error(.io)))
    #expect(throws: LogError.self) { try harness.flush() }
    #expect(throws: LogError.self) { try harness.flush() }
    let fault = #expect(throws: Fault.self) { try harness.append(log, "c") }
    #expect(fault?.reason == .logOffline)
    #expect(log.durableEnd == Offset(1))
  }
}
