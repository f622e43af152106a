@testable import CommitLog
import Simulation
import SkeinCore
import Synchronization
import Testing

/// Sealed segments are read again (R55).
@Suite struct LogScrubTests {
  let disk = SimulatedDisk(seed: 6)

  private var settings: PartitionSettings {
    var settings = PartitionSettings()
    settings.segmentBytes = 3000
    return settings
  }

  /// Three partitions of several sealed segments each.
  private func filled() throws -> (LogHarness, [PartitionLog]) {
    let harness = try LogHarness(disk: disk) { $0.tailBudgetBytes = 0 }
    let logs = (0..<3).map { harness.log($0, settings) }
    for index in 0..<40 {
      for log in logs {
        try harness.append(log, TestBatch(["\(index)" + String(repeating: "x", count: 200)]))
      }
      try harness.flush()
    }
    try harness.writeBehind()
    harness.directory.requestRound(recycle: true)
    try harness.writeBehind()
    return (harness, logs)
  }

  /// Steps until the round ends: verified bytes and what was found.
  private func round(_ harness: LogHarness, maxBytes: Int = 700) throws -> (
    bytes: Int, damage: [TopicPartition]
  ) {
    var bytes = 0
    var damage: [TopicPartition] = []
    for _ in 0..<10_000 {
      let step = try harness.directory.scrubStep(maxBytes: maxBytes)
      bytes += step.bytes
      if let found = step.damage { damage.append(found.key) }
      if step.endsRound { return (bytes, damage) }
    }
    throw TestFailure("the round does not end")
  }

  private func sealedBytes(_ logs: [PartitionLog]) -> Int {
    logs.reduce(0) { sum, log in
      sum + log.store.state.withLock { $0.segments.filter(\.isSealed).reduce(0) { $0 + Int($1.size) } }
    }
  }

  @Test(arguments: [1, 700, 1 << 20])
  func aRoundVerifiesEverySealedByteOnce(maxBytes: Int) throws {
    let (harness, logs) = try filled()
    let expected = sealedBytes(logs)
    #expect(expected > 20_000)
    for _ in 0..<2 {
      let (bytes, damage) = try round(harness, maxBytes: maxBytes)
      #expect(bytes == expected)
      #expect(damage.isEmpty)
    }
  }

  /// Every single bit counts: frame, header and records, wherever in the file.
  @Test func aFlippedBitTakesItsPartitionOfflineAndNoOther() throws {
    let (harness, logs) = try filled()
    let path = LogPaths.segment(logs[1].key, base: logs[1].store.state.withLock { $0.segments[1].base })
    #expect(disk.flipBit(path, byte: 1_500, bit: 4))
    let (_, damage) = try round(harness)
    #expect(damage == [logs[1].key])
    #expect(logs.map { $0.corruption != nil } == [false, true, false])
    #expect(throws: Fault.self) { try harness.append(logs[1], "x") }
    try harness.append(logs[0], "x")
    // Known damage is not reported again.
    #expect(try round(harness).damage.isEmpty)
    // The loss accepted, the rest is in order.
    #expect(harness.directory.acceptLoss(logs[1].key))
    try harness.writeBehind()
    #expect(try round(harness).damage.isEmpty)
    #expect(logs[1].corruption == nil)
  }

  @Test func aVanishedFileIsDamage() throws {
    let (harness, logs) = try filled()
    _ = try harness.directory.close()
    disk.kill()
    let path = LogPaths.segment(logs[2].key, base: 0)
    try harness.restart()
    try disk.remove(path)
    let (_, damage) = try round(harness)
    #expect(damage == [logs[2].key])
  }

  /// A topic that is deleted in the middle of a round is left out.
  @Test func whatIsDeletedMeanwhileIsNoDamage() throws {
    let (harness, logs) = try filled()
    for _ in 0..<5 { _ = try harness.directory.scrubStep(maxBytes: 700) }
    harness.directory.deleteTopic(LogHarness.topic)
    try harness.flush()
    try harness.writeBehind()
    #expect(try round(harness).damage.isEmpty)
    #expect(logs.allSatisfy { $0.corruption == nil })
  }

  /// R56: an unreadable sealed segment concerns its partition, an unreadable active tail the directory.
  @Test(arguments: [true, false]) func aReadThatFailsAtTheActiveTailTakesTheDirectoryOffline(isSealed: Bool)
    throws
  {
    let (harness, logs) = try filled()
    let log = logs[0]
    let segment = try #require(
      log.store.state.withLock { state in state.segments.last { $0.isSealed == isSealed } })
    disk.inject(DiskFault(.read, path: LogPaths.segment(log.key, base: segment.base), .error(.io)))
    let fault = #expect(throws: Fault.self) { try harness.readAll(log, from: Offset(segment.base)) }
    #expect(fault?.reason == (isSealed ? .dataCorrupt : .logOffline))
    #expect((log.corruption != nil) == isSealed)
    if case .offline = harness.directory.state { #expect(!isSealed) } else { #expect(isSealed) }
    if isSealed {
      try harness.append(logs[1], "x")
    } else {
      #expect(throws: Fault.self) { try harness.append(logs[1], "x") }
    }
  }
}
