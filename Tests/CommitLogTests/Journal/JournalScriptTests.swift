import CommitLog
import Simulation
import SkeinCore
import Testing

/// The journal's contract, case by case.
@Suite("Journal")
struct JournalScriptTests {
  @Test func comesBackInOrder() throws {
    let rig = JournalRig(seed: 1)
    try rig.open()
    for _ in 0..<5 {
      try rig.write(rig.makeGroup(4, largestBody: 300))
      try rig.sync()
    }
    rig.disk.powerCut(seed: 1)
    try rig.open()
    #expect(rig.model.items.count == 20)
  }

  @Test func emptyGroupWritesNothing() throws {
    let rig = JournalRig(seed: 1)
    try rig.open()
    let before = rig.disk.operations
    let position = try rig.write([])
    #expect(position == rig.journal!.written)
    #expect(rig.disk.operations == before)
  }

  /// Fifty laps; the ring never grows, entries of earlier laps never come back.
  @Test func goesRoundAndRound() throws {
    let rig = JournalRig(seed: 2, fileSize: 4096, fileCount: 2)
    try rig.open()
    let capacity = rig.journal!.capacity
    while rig.journal!.written.offset < 50 * 2 * 3584 {
      do {
        try rig.write(rig.makeGroup(1 + rig.random.below(3), largestBody: 500))
        try rig.sync()
      } catch LogError.journalFull {
        try rig.recycle(rig.model.boundaries[rig.model.boundaries.count / 2])
      }
      #expect(rig.journal!.freeBytes <= capacity)
      if rig.random.chance(5) { try rig.open() }
    }
    #expect(rig.disk.allFiles().count == 2)
    #expect(rig.disk.contents("journal/ring-001")?.count == 4096)
  }

  @Test func fullUntilRecycled() throws {
    let rig = JournalRig(seed: 3, fileSize: 4096, fileCount: 2)
    try rig.open()
    var full = false
    while !full {
      do {
        try rig.write(rig.makeGroup(1, largestBody: 100))
        try rig.sync()
      } catch LogError.journalFull(let needed, let free) {
        #expect(needed > free)
        full = true
      }
    }
    try rig.open()
    #expect(throws: LogError.self) { try rig.write(rig.makeGroup(1, largestBody: 100)) }
    try rig.recycle(rig.model.boundaries[0])
    #expect(rig.journal!.freeBytes > 0)
    try rig.write(rig.makeGroup(1, largestBody: 100))
    try rig.sync()
    try rig.open()
  }

  /// Restarts without progress on a full ring neither fail nor lose anything.
  @Test func fullRingCanBeOpenedForEver() throws {
    let rig = JournalRig(seed: 4, fileSize: 4096, fileCount: 2)
    try rig.open()
    while true {
      do { try rig.write(rig.makeGroup(1, largestBody: 100)) } catch LogError.journalFull { break }
    }
    try rig.sync()
    let written = rig.model.items
    for round in 0..<50 {
      if round % 7 == 0 { try rig.journal!.close() }
      if round % 3 == 0 { rig.disk.powerCut(seed: UInt64(round)) }
      try rig.open()
      #expect(rig.model.items == written)
    }
    try rig.recycle(rig.model.boundaries[0])
    try rig.write(rig.makeGroup(1, largestBody: 100))
    try rig.sync()
    try rig.open()
  }

  /// A group larger than a file is cut at the ends of files, in order.
  @Test func largeGroupSpansFiles() throws {
    let rig = JournalRig(seed: 5, fileSize: 8192, fileCount: 4)
    try rig.open()
    try rig.write(rig.makeGroup(40, largestBody: 700))
    try rig.sync()
    rig.disk.powerCut(seed: 9)
    try rig.open()
    #expect(rig.model.items.count == 40)
  }

  @Test func entryTooLargeIsRefusedUntouched() throws {
    let rig = JournalRig(seed: 6, fileSize: 4096, fileCount: 4)
    try rig.open()
    let limit = Int(rig.journal!.largestPayload)
    let key = TopicPartition(topic: TopicID(high: 1, low: 2), partition: 0)
    func entry(_ size: Int) -> JournalEntry {
      JournalEntry(
        kind: .roll, key: key, parts: [SharedBytes([UInt8](repeating: 7, count: size))], endOffset: 1)
    }
    let before = rig.journal!.written
    #expect { _ = try rig.journal!.write([entry(limit + 1)]) } throws: { error in
      if case LogError.entryTooLarge(Int64(limit + 1), Int64(limit)) = error { true } else { false }
    }
    #expect(rig.journal!.written == before)
    #expect(throws: Never.self) { _ = try rig.journal!.write([entry(limit)]) }
  }

  // MARK: Errors of the disk

  @Test func failedSyncIsForEver() throws {
    let rig = JournalRig(seed: 8)
    try rig.open()
    try rig.write(rig.makeGroup(2, largestBody: 100))
    rig.disk.inject(DiskFault(.sync, path: "ring", .error(.io)))
    #expect { try rig.sync() } throws: { isOffline($0) }
    #expect { try rig.sync() } throws: { isOffline($0) }
    #expect { try rig.write(rig.makeGroup(1, largestBody: 10)) } throws: { isOffline($0) }
    #expect(rig.journal!.durable < rig.journal!.written)
  }

  @Test func failedWriteIsForEver() throws {
    let rig = JournalRig(seed: 9)
    try rig.open()
    rig.disk.inject(DiskFault(.write, path: "ring", .error(.noSpace)))
    #expect { try rig.write(rig.makeGroup(1, largestBody: 10)) } throws: { isOffline($0) }
    #expect { try rig.sync() } throws: { isOffline($0) }
  }

  @Test func unreadableRingDoesNotOpen() throws {
    let rig = JournalRig(seed: 10)
    try rig.open()
    rig.disk.inject(DiskFault(.read, path: "ring-001", .error(.io)))
    #expect { try rig.open() } throws: { isOffline($0) }
    try rig.open()
  }

  @Test func diskFullAtCreationIsDefiniteAndPasses() throws {
    let rig = JournalRig(seed: 11)
    rig.disk.setCapacity(10_000)
    #expect { try rig.open() } throws: { error in
      if case LogError.full = error { true } else { false }
    }
    rig.disk.setCapacity(1 << 30)
    try rig.open()
    try rig.write(rig.makeGroup(1, largestBody: 10))
    try rig.sync()
  }

  /// Creation is interrupted at each of its steps, then completed.
  @Test func creationSurvivesACrashAnywhere() throws {
    var step = 1
    while true {
      let rig = JournalRig(seed: UInt64(step), fileSize: 4096, fileCount: 2)
      rig.disk.crash(atOperation: step)
      let crashed = (try? rig.open()) == nil
      rig.disk.powerCut(seed: UInt64(step))
      try rig.open()
      try rig.write(rig.makeGroup(2, largestBody: 50))
      try rig.sync()
      rig.disk.powerCut(seed: 5)
      try rig.open()
      #expect(rig.model.items.count == 2)
      if !crashed { break }
      step += 1
    }
    #expect(step > 10)
  }

  // MARK: The files

  @Test func existingGeometryWins() throws {
    let rig = JournalRig(seed: 12)
    try rig.open()
    let capacity = rig.journal!.capacity
    rig.configuration.fileSize = 16384
    try rig.open()
    #expect(rig.journal!.capacity == capacity)
  }

  @Test func missingFileIsCorruptNotEmpty() throws {
    let rig = JournalRig(seed: 13)
    try rig.open()
    try rig.disk.remove("journal/ring-001")
    #expect { try rig.open() } throws: { isCorrupt($0) }
  }

  @Test func damagedIdentityIsToldByItsNeighbours() throws {
    let rig = JournalRig(seed: 16)
    try rig.open()
    try rig.write(rig.makeGroup(3, largestBody: 100))
    try rig.sync()
    _ = rig.disk.flipBit("journal/ring-000", byte: 17, bit: 3)
    try rig.open()
    #expect(rig.model.items.count == 3)
  }

  @Test func ringWithoutAnyIdentityIsCorruptNotEmpty() throws {
    let rig = JournalRig(seed: 17)
    try rig.open()
    for path in rig.disk.allFiles() { rig.disk.overwrite(path, at: 0, [UInt8](repeating: 0, count: 512)) }
    #expect { try rig.open() } throws: { isCorrupt($0) }
  }

  @Test func firstFileGoneIsCorruptNotEmpty() throws {
    let rig = JournalRig(seed: 18)
    try rig.open()
    while rig.journal!.written.offset < 10_000 {
      try rig.write(rig.makeGroup(3, largestBody: 100))
    }
    try rig.sync()
    try rig.disk.remove("journal/ring-000")
    #expect { try rig.open() } throws: { isCorrupt($0) }
  }

  /// After a clean end the last group has a witness too.
  @Test func damageToTheLastGroupAfterCloseIsCorruption() throws {
    let rig = JournalRig(seed: 19)
    try rig.open()
    let end = try rig.write(rig.makeGroup(1, largestBody: 100)).offset
    try rig.journal!.close()
    _ = rig.disk.flipBit("journal/ring-000", byte: 512 + Int(end) - 512 + 110, bit: 0)
    try rig.open(isDamaged: true)
    #expect(rig.corruptions.map(\.loss) == [.partition(rig.model.items[0].key)])
  }

  @Test func laterVersionIsRefused() throws {
    let rig = JournalRig(seed: 14)
    try rig.open()
    var identity = try #require(rig.disk.contents("journal/ring-000").map { Array($0[..<64]) })
    identity[8] = 2
    withUnsafeBytes(of: CRC32C.checksum(Array(identity[..<60])).littleEndian) {
      identity.replaceSubrange(60..., with: $0)
    }
    rig.disk.overwrite("journal/ring-000", at: 0, identity)
    #expect { try rig.open() } throws: { error in
      if case LogError.invalidFormat = error { true } else { false }
    }
  }

  @Test func recycleReachesOnlyWhatIsDurable() throws {
    let rig = JournalRig(seed: 15)
    try rig.open()
    let position = try rig.write(rig.makeGroup(2, largestBody: 100))
    try rig.journal!.recycle(through: position)
    // Nothing was synced: a group written now must not name a head that a crash could undo.
    try rig.write(rig.makeGroup(1, largestBody: 100))
    try rig.sync()
    rig.disk.powerCut(seed: 1)
    try rig.open()
    #expect(rig.model.items.count == 3)
  }

  private func isCorrupt(_ error: any Error) -> Bool {
    if case LogError.corrupt(nil, _) = error { true } else { false }
  }

  private func isOffline(_ error: any Error) -> Bool {
    if case LogError.offline = error { true } else { false }
  }
}
