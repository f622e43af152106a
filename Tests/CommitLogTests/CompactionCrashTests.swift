import CommitLog
import RecordFormat
import Simulation
import SkeinCore
import Testing

/// One compaction, with the power failing at every single operation of the disk in turn.
@Suite struct CompactionCrashTests {
  private static let settings = LogHarness.compacted { $0.segmentBytes = 2500 }

  /// Two checkpoints old, sealed, with tombstones, several producers, more keys than the map holds.
  private func prepared(_ disk: SimulatedDisk) throws -> (LogHarness, [KeyedRecord]) {
    let harness = try LogHarness(disk: disk) {
      $0.tailBudgetBytes = 0
      $0.compactionBytes = 1024
      $0.smallestRecycledBytes = 512
    }
    let log = harness.log(0, Self.settings)
    for index in 0..<90 {
      let value = index % 7 == 0 ? nil : "\(index)." + String(repeating: "v", count: 40)
      try harness.append(
        log, [KeyedRecord("k\(index * 31 % 40)", value), KeyedRecord("hot", "\(index)")],
        codec: index % 2 == 0 ? .none : .zstd, producer: Int64(index % 3), sequence: Int32(index / 3 * 2))
    }
    try harness.seal()
    return (harness, try harness.records(log).records)
  }

  /// Steps of cleaner and write-behind until nothing is due.
  private func compact(_ harness: LogHarness) throws {
    while true {
      switch try harness.directory.cleanStep(maxBytes: 900).progress {
      case .idle: return try harness.writeBehind()
      case .waiting: _ = try harness.directory.writeBehindStep()
      case .working: break
      }
    }
  }

  /// The newest record of each key, where it was.
  private func newest(_ records: [KeyedRecord]) -> [String: KeyedRecord] {
    Dictionary(records.map { ($0.key ?? "", $0) }) { $0.offset > $1.offset ? $0 : $1 }
  }

  @Test func theLastValueOfEveryKeySurvivesAPowerCutAtEveryOperation() throws {
    let original = SimulatedDisk(seed: 21)
    let all: [KeyedRecord]
    let last: [String: KeyedRecord]
    do {
      let (harness, records) = try prepared(original)
      all = records
      last = newest(records)
      for advance in try harness.directory.close() { advance.log.apply(advance) }
    }
    original.kill()
    var point = 0
    var middles = 0
    while true {
      let disk = original.clone(seed: UInt64(point))
      let harness = try LogHarness(disk: disk) {
        $0.tailBudgetBytes = 0
        $0.compactionBytes = 1024
        $0.smallestRecycledBytes = 512
      }
      _ = harness.log(0, Self.settings)
      disk.crash(atOperation: disk.operations + 1 + point)
      var isOver = false
      do {
        try compact(harness)
        isOver = !disk.isOff
      } catch is LogError {}
      disk.powerCut(seed: UInt64(point) * 7 + 1)
      try harness.restart()
      let log = harness.log(0, Self.settings)
      #expect(log.corruption == nil, "point \(point): \(log.corruption ?? "")")
      let read = try harness.records(log).records
      #expect(newest(read) == last, "point \(point)")
      #expect(read.allSatisfy { all.contains($0) }, "point \(point)")
      #expect(log.logEnd.rawValue == 180)
      if read.count < all.count && read.count > last.count { middles += 1 }
      if isOver { break }
      // And once more to the end, over what the crash left behind.
      try compact(harness)
      #expect(try newest(harness.records(log).records) == last, "point \(point), afterwards")
      harness.directory.requestRound(recycle: true)
      try harness.writeBehind()
      let left = disk.allFiles().filter { $0.hasPrefix("topics/") && $0.hasSuffix(".log") }
      #expect(left.count == log.summary.segments, "point \(point): \(left)")
      #expect(!disk.allFiles().contains { $0.hasSuffix(".tmp") })
      point += 1
    }
    print("\(point) points, \(middles) between two swaps")
    #expect(point > 60 && middles > 5)
  }
}
