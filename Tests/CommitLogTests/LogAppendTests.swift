import CommitLog
import RecordFormat
import Simulation
import SkeinCore
import Testing

/// What append refuses, and in which order (architecture.md, write path).
@Suite struct LogAppendTests {
  private func harness(_ adjust: (inout LogConfiguration) -> Void = { _ in }) throws -> LogHarness {
    try LogHarness(disk: SimulatedDisk(seed: 1), adjust: adjust)
  }

  private func refusal(_ body: () throws -> Void) -> Reason? {
    do { try body() } catch { return (error as? Fault)?.reason }
    return nil
  }

  @Test func duplicatesAreAnsweredWithTheirOffsetOnceDurable() throws {
    let harness = try harness()
    let log = harness.log()
    try harness.append(log, TestBatch(["a", "b"], producer: 7, sequence: 0))
    func retry() throws -> (Offset, Offset, Bool)? {
      let batch = try TestBatch(["a", "b"], producer: 7, sequence: 0)
      guard
        case .duplicate(let base, let last, let committed) = try log.append(batch.bytes, header: batch.header)
      else { return nil }
      return (base, last, committed)
    }
    let early = try #require(try retry())
    #expect(early == (Offset(0), Offset(1), false))
    try harness.flush()
    let late = try #require(try retry())
    #expect(late == (Offset(0), Offset(1), true))
    #expect(log.logEnd == Offset(2))
  }

  @Test func producersSurviveARestart() throws {
    let harness = try harness()
    let log = harness.log()
    for index in 0..<40 {
      try harness.append(log, TestBatch(["\(index)"], producer: 7, sequence: Int32(index)))
      try harness.flush()
    }
    try harness.writeBehind()
    _ = try harness.directory.close()
    try harness.restart()
    let again = harness.log()
    let retry = try TestBatch(["39"], producer: 7, sequence: 39)
    guard case .duplicate(let base, _, true) = try again.append(retry.bytes, header: retry.header) else {
      Issue.record("not recognised")
      return
    }
    #expect(base == Offset(39))
    try harness.append(again, TestBatch(["40"], producer: 7, sequence: 40))
    #expect(
      refusal { try harness.append(again, TestBatch(["x"], producer: 7, sequence: 50)) }
        == .outOfOrderSequence)
    #expect(
      refusal { try harness.append(again, TestBatch(["x"], producer: 8, sequence: 5)) } == .unknownProducer)
  }

  @Test func aDuplicateComesBeforeTheGenerationAndTheGenerationBeforeSequences() throws {
    let harness = try harness()
    let log = harness.log()
    try harness.append(log, TestBatch(["a"], producer: 7, sequence: 0))
    let retry = try TestBatch(["a"], producer: 7, sequence: 0)
    guard
      case .duplicate = try log.append(retry.bytes, header: retry.header, generation: 1, currentGeneration: 2)
    else {
      Issue.record("the retry of an old generation must be recognised")
      return
    }
    let gap = try TestBatch(["b"], producer: 7, sequence: 9)
    #expect(
      refusal { _ = try log.append(gap.bytes, header: gap.header, generation: 1, currentGeneration: 2) }
        == .partitionerChanged)
    #expect(
      refusal { _ = try log.append(gap.bytes, header: gap.header, generation: 3, currentGeneration: 2) }
        == .overloaded)
    #expect(
      refusal { _ = try log.append(gap.bytes, header: gap.header, generation: 2, currentGeneration: 2) }
        == .outOfOrderSequence)
    // No sequence was consumed by any of them.
    for sequence in 1...40 {
      try harness.append(log, TestBatch(["b"], producer: 7, sequence: Int32(sequence)))
      try harness.flush()
    }
    // Appended too long ago to remember: still a success, or it would be appended elsewhere too.
    guard
      case .duplicateOutsideWindow = try log.append(
        retry.bytes, header: retry.header, generation: 1, currentGeneration: 2)
    else {
      Issue.record("an old duplicate must not be sent elsewhere")
      return
    }
  }

  @Test func timestampsMoreThanAnHourAheadAreRefused() throws {
    let harness = try harness()
    let log = harness.log()
    let limit = harness.time.wallMilliseconds + PartitionLog.timestampSlack
    try harness.append(log, TestBatch(["a"], timestamp: limit))
    #expect(refusal { try harness.append(log, TestBatch(["a"], timestamp: limit + 1)) } == .timestampInvalid)
    #expect(log.logEnd == Offset(1))
  }

  @Test func theSubmitQueueIsBounded() throws {
    let harness = try harness { $0.maxQueuedBytes = 4096 }
    let log = harness.log()
    var accepted = 0
    let value = String(repeating: "x", count: 500)
    while refusal({ try harness.append(log, value) }) == nil { accepted += 1 }
    #expect(accepted == 6)
    #expect(!harness.directory.canAccept(600))
    #expect(refusal { try harness.append(log, value) } == .overloaded)
    try harness.flush()
    #expect(harness.directory.queuedBytes == 0)
    try harness.append(log, value)
  }

  @Test func whatWaitsForSegmentsIsBounded() throws {
    let harness = try harness { $0.maxUnwrittenBytes = 2000 }
    let log = harness.log()
    let value = String(repeating: "x", count: 500)
    while refusal({ try harness.append(log, value) }) == nil { try harness.flush() }
    #expect(refusal { try harness.append(log, value) } == .overloaded)
    harness.directory.requestRound()
    try harness.writeBehind()
    try harness.append(log, value)
  }

  @Test func producersAreCapped() throws {
    let harness = try harness { $0.maxProducers = 3 }
    let log = harness.log()
    for id in 0..<3 { try harness.append(log, TestBatch(["a"], producer: Int64(id))) }
    #expect(refusal { try harness.append(log, TestBatch(["a"], producer: 3)) } == .overloaded)
    try harness.append(log, TestBatch(["b"], producer: 2, sequence: 1))
    // A day later they are forgotten, and there is room again.
    harness.time.advance(milliseconds: ProducerTable.lifetimeMilliseconds + 1)
    _ = try harness.directory.maintenanceStep()
    #expect(log.producerCount == 0)
    try harness.append(log, TestBatch(["a"], producer: 3, timestamp: harness.time.wallMilliseconds))
  }

  @Test func aGroupIsOneSyncForManyPartitions() throws {
    let disk = SimulatedDisk(seed: 1)
    let harness = try LogHarness(disk: disk)
    let logs = (0..<50).map { harness.log(Int32($0)) }
    for log in logs { try harness.append(log, "a", "b") }
    let before = disk.operations
    let advances = try harness.directory.flushStep()
    // One vectored write and one sync.
    #expect(disk.operations - before == 2)
    #expect(advances.count == 50)
    #expect(advances.allSatisfy { $0.end == Offset(2) })
  }

  @Test func memoryTopicsAreVisibleAtOnceAndMayLoseTheirEnd() throws {
    let disk = SimulatedDisk(seed: 3)
    let harness = try LogHarness(disk: disk)
    var settings = PartitionSettings()
    settings.durability = .memory
    let log = harness.log(0, settings)
    try harness.append(log, "kept")
    try harness.flush()
    try harness.append(log, "lost")
    #expect(log.highWatermark == Offset(2))
    #expect(try harness.readAll(log) == ["kept", "lost"])
    let epoch = log.leaderEpoch
    disk.powerCut(seed: 1)
    try harness.restart()
    let again = harness.log(0, settings)
    #expect(try harness.readAll(again) == ["kept"])
    // Who has read the lost record is told, before and after the offset is used again.
    #expect(refusal { _ = try again.read(from: Offset(2), maxBytes: 100, lastEpoch: epoch) } == .logTruncated)
    try harness.append(again, "new", "newer")
    #expect(refusal { _ = try again.read(from: Offset(2), maxBytes: 100, lastEpoch: epoch) } == .logTruncated)
    #expect(refusal { _ = try again.read(from: Offset(1), maxBytes: 100, lastEpoch: epoch) } == nil)
  }
}
