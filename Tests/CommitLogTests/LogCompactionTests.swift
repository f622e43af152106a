import RecordFormat
import Simulation
import SkeinCore
import Synchronization
import Testing

@testable import CommitLog

/// Compaction: what stays, what goes, and what nobody may notice (R31-R35, P8).
@Suite struct LogCompactionTests {
  let disk = SimulatedDisk(seed: 11)

  private func harness(_ adjust: (inout LogConfiguration) -> Void = { _ in }) throws -> LogHarness {
    try LogHarness(disk: disk) {
      $0.tailBudgetBytes = 0
      adjust(&$0)
    }
  }

  private func fill(_ harness: LogHarness, _ log: PartitionLog, keys: Int, rounds: Int) throws {
    for round in 0..<rounds {
      for key in 0..<keys {
        try harness.append(log, [KeyedRecord("k\(key)", "\(round)." + String(repeating: "v", count: 60))])
      }
    }
  }

  @Test func theLastRecordOfEachKeyStaysWhereItWas() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    try fill(harness, log, keys: 10, rounds: 20)
    try harness.seal()
    let before = try harness.records(log).records
    let size = log.sizeInBytes
    #expect(try harness.clean(maxBytes: 700) == 1)
    let after = try harness.records(log)
    #expect(after.records == Array(before.suffix(10)))
    #expect(log.sizeInBytes < size / 8, "\(log.segmentTable)")
    // No holes: every batch begins where the one before it ends.
    var due: Int64 = 0
    for batch in after.batches {
      #expect(batch.baseOffset == due)
      due = batch.nextOffset
    }
    #expect(due == 200)
    // Nothing is due any more; the old files go with the next checkpoint.
    #expect(try harness.clean() == 0)
    let files = disk.allFiles().filter { $0.hasPrefix("topics/") }
    #expect(files.count == 2 * log.summary.segments, "\(files)")
    // Reading from every offset leads on.
    for offset in Int64(0)..<200 {
      let read = try harness.records(log, from: Offset(offset)).records
      #expect(read == after.records.filter { $0.offset >= offset })
    }
    try harness.restart()
    let again = harness.log(0, LogHarness.compacted())
    #expect(try harness.records(again).records == after.records)
    // What has become small is one segment after the next round.
    try harness.append(again, [KeyedRecord("k0", "new")])
    try harness.seal()
    try harness.clean()
    #expect(again.summary.segments == 1, "\(again.segmentTable)")
    #expect(try harness.records(again).records.count == 10)
  }

  @Test func moreKeysThanTheMemoryHoldsTakeSeveralRounds() throws {
    let harness = try harness { $0.compactionBytes = 2048 }
    let log = harness.log(0, LogHarness.compacted())
    try fill(harness, log, keys: 300, rounds: 3)
    try harness.seal()
    let before = try harness.records(log).records
    let rounds = try harness.clean()
    #expect(rounds > 900 / 80 && rounds < 100, "\(rounds) rounds")
    let after = try harness.records(log).records
    #expect(after.count == 300 && after.first == before.suffix(300).first, "\(after.prefix(5))")
  }

  /// R35: what is active, or too young, or the tail of what is not durable, is not touched.
  @Test func onlySealedAndOldEnoughSegmentsAreCleaned() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted { $0.compactionLagMilliseconds = 500_000 })
    try fill(harness, log, keys: 2, rounds: 60)
    harness.directory.requestRound(recycle: true)
    try harness.writeBehind()
    #expect(try harness.clean() == 0, "younger than min.compaction.lag.ms")
    harness.time.advance(milliseconds: 500_001)
    #expect(try harness.clean() == 1)
    let active = try #require(log.store.state.withLock { $0.segments.last })
    #expect(!active.isSealed && active.generation == 0)
    let read = try harness.records(log).records
    #expect(
      read.filter { $0.offset >= active.base }.count == Int(120 - active.base),
      "the active segment was cleaned")
    #expect(read.filter { $0.offset < active.base }.count == 2)
  }

  @Test func theDirtyRatioDecides() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted { $0.minimumDirtyRatio = 0.5 })
    for key in 0..<200 {
      try harness.append(log, [KeyedRecord("k\(key)", String(repeating: "v", count: 60))])
    }
    try harness.seal()
    #expect(try harness.clean() == 1)
    try fill(harness, log, keys: 10, rounds: 5)
    try harness.seal()
    #expect(try harness.clean() == 0, "a fifth is dirty")
    #expect((150...250).contains(harness.directory.cleanerStatistics.dirtiest))
    log.setSettings(LogHarness.compacted { $0.minimumDirtyRatio = 0.1 })
    #expect(try harness.clean() == 1)
    #expect(try harness.records(log).records.count == 200)
  }

  @Test(arguments: [Codec.none, .gzip, .lz4, .zstd])
  func batchesKeepWhatTheyAre(codec: Codec) throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    let long = String(repeating: "value ", count: 30)
    let kept = [
      KeyedRecord("a", long, timestamp: 1_600_000_000_001, headers: ["x", "y"]),
      KeyedRecord("b", long, timestamp: 1_600_000_000_000), KeyedRecord("c", ""),
    ]
    try harness.append(
      log,
      [
        kept[0], KeyedRecord("z", "1", timestamp: 1_699_999_999_999), kept[1], KeyedRecord("z", "2"), kept[2],
      ],
      codec: codec, producer: 9, epoch: 3, sequence: 70_000 - 70_000)
    try harness.append(log, [KeyedRecord("z", "3")])
    try harness.seal()
    let frames = try storedFrames(log)
    try harness.clean()
    let (records, batches) = try harness.records(log)
    #expect(records.map(\.offset) == [0, 2, 4, 5])
    #expect(records.map(\.key) == ["a", "b", "c", "z"] && records.map(\.value) == [long, long, "", "3"])
    #expect(records.prefix(3).map(\.timestamp) == kept.map(\.timestamp))
    #expect(records.prefix(3).map(\.headers) == kept.map(\.headers))
    let first = try #require(batches.first)
    #expect(
      first.codec == codec && first.producerID == 9 && first.producerEpoch == 3 && first.baseSequence == 0)
    #expect(first.lastOffsetDelta == 4 && first.recordCount == 3 && first.lastSequence == 4)
    #expect(first.maxTimestamp == 1_700_000_000_000)
    let after = try storedFrames(log)
    #expect(after.map(\.appendTime) == frames.map(\.appendTime))
    #expect(after.map(\.leaderEpoch) == frames.map(\.leaderEpoch))
    #expect(after.first?.generation == frames.first?.generation)
  }

  private func storedFrames(_ log: PartitionLog) throws -> [Frame] {
    var frames: [Frame] = []
    for segment in log.store.state.withLock({ $0.segments }) {
      let bytes = SharedBytes(try #require(disk.contents(LogPaths.segment(log.key, segment))))
      var position = 0
      while position < Int(segment.size) {
        let frame = try bytes.withUnsafeBytes {
          try Frame(parsing: UnsafeRawBufferPointer(rebasing: $0[position...]))
        }
        frames.append(frame)
        position += frame.totalSize
      }
    }
    return frames
  }

  // MARK: Tombstones

  @Test func tombstonesStayTheirTimeAfterTheFirstPass() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    try harness.append(log, [KeyedRecord("a", "1"), KeyedRecord("b", "1", timestamp: 1_690_000_000_000)])
    try harness.append(log, [KeyedRecord("a", nil), KeyedRecord("b", "2", timestamp: 1_690_000_000_000)])
    // Longer than its time, and no cleaner came: it stays.
    harness.time.advance(milliseconds: 5_000_000)
    try harness.seal()
    #expect(try harness.clean() == 1)
    #expect(try harness.records(log).records.map(\.description) == ["2: a=-", "3: b=2"])
    #expect(try harness.records(log).records.map(\.timestamp) == [1_700_000_000_000, 1_690_000_000_000])
    harness.time.advance(milliseconds: 900_000)
    #expect(try harness.clean() == 0)
    try harness.restart()
    let again = harness.log(0, LogHarness.compacted())
    #expect(try harness.clean() == 0, "a restart forgets nothing")
    harness.time.advance(milliseconds: 100_001)
    #expect(try harness.clean() == 1, "due, though nothing else is new")
    #expect(try harness.records(again).records.map(\.description) == ["3: b=2"])
    #expect(harness.directory.cleanerStatistics.tombstonesDropped == 1)
    // Once: there is nothing to find any more.
    harness.time.advance(milliseconds: 100_000_000)
    #expect(try harness.clean() == 0)
  }

  /// A key that no map holds is not compacted, and its tombstone does not go before its values.
  @Test func keysTooLongForTheMapStayWithTheirTombstones() throws {
    let harness = try harness { $0.compactionBytes = 1024 }
    let log = harness.log(0, LogHarness.compacted())
    let long = String(repeating: "k", count: 950)
    try harness.append(log, [KeyedRecord(long, "1"), KeyedRecord("a", "1")])
    try harness.append(log, [KeyedRecord(long, nil), KeyedRecord("a", nil)])
    try harness.append(log, [KeyedRecord("a", "2"), KeyedRecord("b", "1")])
    try harness.append(log, [KeyedRecord("b", nil)])
    try harness.seal()
    for _ in 0..<3 {
      try harness.clean()
      harness.time.advance(milliseconds: 2_000_000)
    }
    #expect(try harness.records(log).records.map(\.offset) == [0, 2, 4])
    #expect(harness.directory.cleanerStatistics.keysTooLong == 2)
  }

  @Test func aDoubtfulClockStopsTheCleaner() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    try fill(harness, log, keys: 1, rounds: 50)
    try harness.seal()
    harness.time.jump(milliseconds: 1_000_000_000)
    _ = try harness.directory.maintenanceStep()
    #expect(try harness.clean() == 0)
    harness.time.jump(milliseconds: -1_000_000_000)
    _ = try harness.directory.maintenanceStep()
    #expect(try harness.clean() == 1)
  }

  // MARK: What must not be lost

  /// P8: a producer's newest batch stays without its records, so that its retry is known even when the
  /// segments are all that is left.
  @Test func theNewestBatchOfAProducerStays() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    for sequence in Int32(0)..<3 {
      try harness.append(log, [KeyedRecord("a", "\(sequence)")], producer: 77, epoch: 1, sequence: sequence)
    }
    try fill(harness, log, keys: 1, rounds: 5)
    try harness.append(log, [KeyedRecord("a", "end"), KeyedRecord("k0", "end")])
    try harness.seal()
    try harness.clean()
    let (records, batches) = try harness.records(log)
    #expect(records.map(\.value) == ["end", "end"])
    #expect(batches.map(\.producerID) == [-1, 77, -1, -1])
    #expect(batches[1].baseOffset == 2 && batches[1].recordCount == 0 && batches[1].lastSequence == 2)
    for path in disk.allFiles() where path.hasPrefix("checkpoint-") { disk.overwrite(path, at: 0, [0]) }
    try harness.restart()
    let again = harness.log(0, LogHarness.compacted())
    #expect(again.corruption == nil && again.producerCount == 1)
    var builder = BatchBuilder()
    try builder.append(key: Array("a".utf8), value: Array("2".utf8), timestamp: 1_700_000_000_000)
    let bytes = try builder.finish(producerID: 77, producerEpoch: 1, baseSequence: 2)
    let header = try bytes.withUnsafeBytes { try BatchCheck.produce($0) }
    guard case .duplicate(let base, _, true) = try again.append(bytes, header: header) else {
      throw TestFailure("the retry was not known")
    }
    #expect(base.rawValue == 2)
  }

  @Test func recordsWithoutKeyAndWhatCannotBeReadStay() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted { $0.isCompacted = false })
    try harness.append(log, [KeyedRecord(nil, "keyless"), KeyedRecord("a", "1")])
    // Compressed bytes that do not inflate were accepted while the topic was not compacted.
    try harness.append(log, [KeyedRecord("a", "2")])
    try harness.append(log, try undecodable())
    try harness.append(log, [KeyedRecord("a", "3"), KeyedRecord(nil, "keyless")])
    log.setSettings(LogHarness.compacted())
    try harness.seal()
    #expect(try harness.clean() == 1)
    let headers = try storedFrames(log)
    #expect(headers.count == 4 && headers[2].baseOffset == 3)
    var plan = try log.read(from: Offset(0), maxBytes: 1 << 20)
    guard case .file(let first) = plan else { throw TestFailure("not on disk") }
    #expect(try harness.directory.read(first).batches.count == 4)
    plan = try log.read(from: Offset(4), maxBytes: 1 << 20)
    let rest = try harness.records(log, from: Offset(4)).records
    #expect(rest.map(\.description) == ["4: a=3", "5: -=keyless"])
  }

  private func undecodable() throws -> TestBatch {
    var builder = BatchBuilder(codec: .zstd)
    try builder.append(
      key: Array("a".utf8), value: [UInt8](repeating: 65, count: 500), timestamp: 1_700_000_000_000)
    var bytes = try builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1).array
    for index in (bytes.count - 8)..<bytes.count { bytes[index] ^= 0x5a }
    let crc = bytes.withUnsafeBytes { CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[21...])) }
    for place in 0..<4 { bytes[17 + place] = UInt8(truncatingIfNeeded: crc >> UInt32(24 - 8 * place)) }
    var batch = try TestBatch(["x"])
    batch.bytes = SharedBytes(bytes)
    batch.header = try batch.bytes.withUnsafeBytes { try BatchCheck.produce($0) }
    return batch
  }

  @Test func theEpochsOfTheLogStay() throws {
    let harness = try harness()
    _ = harness.log(0, LogHarness.compacted())
    for _ in 0..<3 {
      try harness.restart()
      try fill(harness, harness.log(0, LogHarness.compacted()), keys: 2, rounds: 10)
    }
    let log = harness.log(0, LogHarness.compacted())
    try harness.seal()
    let before = log.epochs
    #expect(before.count == 3)
    try harness.clean()
    #expect(try harness.records(log).records.count == 2)
    for path in disk.allFiles() where path.hasPrefix("checkpoint-") { disk.overwrite(path, at: 0, [0]) }
    try harness.restart()
    #expect(harness.log(0, LogHarness.compacted()).epochs == before, "the segments do not tell the epochs")
  }

  // MARK: Beside others

  /// A reader may stand between its plan and its read for as long as it likes.
  @Test func aPlanOfBeforeReadsWhatIsThereNow() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    try fill(harness, log, keys: 3, rounds: 40)
    try harness.seal()
    guard case .file(let plan) = try log.read(from: Offset(5), maxBytes: 1 << 20) else {
      throw TestFailure("no plan")
    }
    try harness.clean()
    let result = try harness.directory.read(plan)
    #expect(result.next.rawValue > 5 && log.corruption == nil)
  }

  @Test func searchesByTimeAndByAppendTimeGoOn() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    var appended: [Int64] = []
    for index in 0..<60 {
      harness.time.advance(milliseconds: 100)
      appended.append(harness.time.wallMilliseconds)
      let key = index % 20 == 7 ? "k\(index)" : "again"
      try harness.append(log, [KeyedRecord(key, "v", timestamp: 1_000 + Int64(index))])
    }
    try harness.seal()
    func lag(_ offset: Offset) -> Int64? {
      switch log.appendTime(from: offset) {
      case .none: nil
      case .known(let time): time
      case .search(let search): harness.directory.find(search)
      }
    }
    for offset in 0..<60 { #expect(lag(Offset(Int64(offset))) == appended[offset]) }
    #expect(lag(Offset(60)) == nil)
    try harness.clean()
    let read = try harness.records(log).records
    #expect(read.map(\.offset) == [7, 27, 47, 59])
    for wanted in Int64(1_000)..<1_060 {
      let found = try harness.directory.find(log.offset(forTimestamp: wanted))
      #expect(found?.offset.rawValue == read.first { $0.timestamp >= wanted }?.offset)
    }
    for offset in 0..<60 {
      let next = try #require(read.first { $0.offset >= offset })
      // Where nothing is left it may be the time of the newest record that was there.
      let times = appended[offset]...appended[Int(next.offset)]
      let found = lag(Offset(Int64(offset)))
      #expect(found.map(times.contains) == true, "offset \(offset): \(found ?? -1), not in \(times)")
    }
  }

  @Test func theScrubberTakesWhatTheCleanerMade() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    try fill(harness, log, keys: 30, rounds: 5)
    try harness.seal()
    _ = try harness.directory.scrubStep(maxBytes: 1000)
    try harness.clean()
    var isOver = false
    for _ in 0..<1000 where !isOver {
      let step = try harness.directory.scrubStep(maxBytes: 1000)
      #expect(step.damage == nil)
      isOver = step.endsRound
    }
    #expect(isOver)
    let segment = try #require(log.store.state.withLock { $0.segments.first })
    #expect(segment.generation > 0)
    #expect(disk.flipBit(LogPaths.segment(log.key, segment), byte: Int(segment.size / 2), bit: 3))
    var damage: TopicPartition?
    for _ in 0..<1000 where damage == nil {
      damage = try harness.directory.scrubStep(maxBytes: 1000).damage?.key
    }
    #expect(damage == log.key)
    // And what is intact is served after the operator gave up the rest.
    #expect(harness.directory.acceptLoss(log.key))
    try harness.writeBehind()
    #expect(try harness.records(log).records.count >= 28)
    try harness.clean()
    #expect(log.corruption == nil)
  }

  @Test func damageInASourceTakesThePartitionOffline() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    try fill(harness, log, keys: 3, rounds: 60)
    try harness.seal()
    let segment = try #require(log.store.state.withLock { $0.segments.first })
    #expect(disk.flipBit(LogPaths.segment(log.key, segment), byte: 900, bit: 1))
    var found: TopicPartition?
    for _ in 0..<100 where found == nil {
      let step = try harness.directory.cleanStep(maxBytes: 500)
      if step.progress == .waiting { try harness.writeBehind() }
      found = step.damage?.key
    }
    #expect(found == log.key && log.corruption != nil)
    #expect(try harness.directory.cleanStep(maxBytes: 500).progress == .idle)
    #expect(!disk.allFiles().contains { $0.hasSuffix(".tmp") })
  }

  /// Whatever step of the cleaner a deletion comes after: nothing stays, nothing fails.
  @Test func aTopicMayGoAtAnyStep() throws {
    for steps in 1..<60 {
      let disk = SimulatedDisk(seed: UInt64(steps))
      let harness = try LogHarness(disk: disk) { $0.tailBudgetBytes = 0 }
      let log = harness.log(0, LogHarness.compacted())
      try fill(harness, log, keys: 3, rounds: 40)
      try harness.seal()
      for step in 0..<steps {
        let progress = try harness.directory.cleanStep(maxBytes: 600).progress
        if progress == .waiting, step % 2 == 0 { _ = try harness.directory.writeBehindStep() }
      }
      harness.directory.deleteTopic(LogHarness.topic)
      try harness.flush()
      for _ in 0..<6 {
        _ = try harness.directory.cleanStep(maxBytes: 600)
        harness.directory.requestRound(recycle: true)
        try harness.writeBehind()
      }
      #expect(disk.allFiles().filter { $0.hasPrefix("topics/") } == [], "after \(steps) steps")
    }
  }

  @Test func aFullDiskOnlyPutsItOff() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    try fill(harness, log, keys: 3, rounds: 60)
    try harness.seal()
    let before = try harness.records(log).records
    disk.setCapacity(0)
    #expect(try harness.clean() == 0)
    #expect(harness.directory.cleanerStatistics.abandoned > 0)
    #expect(try harness.records(log).records == before)
    disk.setCapacity(1 << 40)
    #expect(try harness.clean() == 1)
    #expect(try harness.records(log).records == Array(before.suffix(3)))
  }

  @Test func aFailedSyncOfANewSegmentEndsTheDirectory() throws {
    let harness = try harness()
    let log = harness.log(0, LogHarness.compacted())
    try fill(harness, log, keys: 3, rounds: 60)
    try harness.seal()
    disk.inject(DiskFault(.sync, after: 0, .error(.io)))
    #expect(throws: LogError.self) { try harness.clean() }
    disk.powerCut(seed: 4)
    disk.clearFaults()
    try harness.restart()
    #expect(try harness.records(harness.log(0, LogHarness.compacted())).records.count == 180)
  }

  /// compact,delete: retention takes whole segments, old or new.
  @Test func retentionAndCompactionShareATopic() throws {
    let harness = try harness()
    let settings = LogHarness.compacted {
      $0.isRetained = true
      $0.retentionMilliseconds = 500_000
    }
    let log = harness.log(0, settings)
    try fill(harness, log, keys: 3, rounds: 60)
    try harness.seal()
    #expect(try harness.clean() == 1)
    harness.time.advance(milliseconds: 500_001)
    try fill(harness, log, keys: 1, rounds: 1)
    try harness.seal()
    #expect(log.logStart.rawValue == 180)
    #expect(try harness.records(log).records.map(\.offset) == [180])
    try harness.restart()
    #expect(try harness.records(harness.log(0, settings)).records.map(\.offset) == [180])
  }
}
