import RecordFormat
import Simulation
import SkeinCore
import Testing

@testable import CommitLog

/// One compaction, with the power failing at every single operation of the disk in turn.
@Suite struct CompactionCrashTests {
  private static let settings = LogHarness.compacted { $0.segmentBytes = 2500 }
  private static let memory = 1024

  private static func configure(_ configuration: inout LogConfiguration) {
    configuration.tailBudgetBytes = 0
    configuration.compactionBytes = memory
    configuration.smallestRecycledBytes = 512
  }

  /// Two checkpoints old, sealed, with tombstones, several producers, more keys than the map holds.
  private func prepared(_ disk: SimulatedDisk) throws -> (LogHarness, [KeyedRecord]) {
    let harness = try LogHarness(disk: disk) { Self.configure(&$0) }
    let log = harness.log(0, Self.settings)
    for index in 0..<90 {
      let value = index % 7 == 0 ? nil : "\(index)." + String(repeating: "v", count: 40)
      try harness.append(
        log, [KeyedRecord("k\(index * 31 % 60)", value), KeyedRecord("hot", "\(index)")],
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

  /// What the crashes below fall into: one compaction, in several rounds, because the map does not hold all keys.
  @Test func theMapHoldsAPartOfTheKeys() throws {
    let (harness, records) = try prepared(SimulatedDisk(seed: 21))
    var map = KeyMap(memory: Self.memory)
    let keys = Set(records.compactMap(\.key))
    let held = keys.filter { key in Array(key.utf8).withUnsafeBytes { map.note($0, offset: 0) } }.count
    #expect(held * 2 < keys.count, "\(held) of \(keys.count) keys")
    let rounds = try harness.clean(maxBytes: 900)
    #expect(rounds > 1, "\(rounds) rounds")
  }

  @Test func theLastValueOfEveryKeySurvivesAPowerCutAtEveryOperation() throws {
    let (points, middles) = try cutEverywhere([])
    print("\(points) points, \(middles) between two swaps")
    #expect(points > 60 && middles > 5)
  }

  /// What the test above would say of a cleaner that is wrong.
  @Test(arguments: [
    LogBreakage.compactWithoutSync, .compactWithoutDirectorySync, .compactRemovesEarly, .compactKeepsFirst,
    .compactDropsTombstonesAtOnce, .compactTrustsHash,
  ])
  func aDefectIsSeen(_ defect: LogBreakage) throws {
    let failure = #expect(throws: (any Error).self) { try cutEverywhere([defect]) }
    print("\(defect): \(failure.map { "\($0)" } ?? "")")
  }

  private func cutEverywhere(_ breakages: Set<LogBreakage>) throws -> (points: Int, middles: Int) {
    let original = SimulatedDisk(seed: 21)
    let all: [KeyedRecord]
    do {
      let (harness, records) = try prepared(original)
      all = records
      for advance in try harness.directory.close() { advance.log.apply(advance) }
    }
    original.kill()
    var (point, middles) = (0, 0)
    while true {
      let read = try cut(original.clone(seed: UInt64(point)), at: point, all, breakages)
      if read.count < all.count && read.count > newest(all).count { middles += 1 }
      if read.isOver { return (point, middles) }
      point += 1
    }
  }

  /// One compaction, the power failing at its operation number `point`, and another one over what that left behind.
  private func cut(
    _ disk: SimulatedDisk, at point: Int, _ all: [KeyedRecord], _ breakages: Set<LogBreakage>
  ) throws -> (count: Int, isOver: Bool) {
    func require(_ isTrue: Bool, _ what: String) throws {
      if !isTrue { throw TestFailure("point \(point): \(what)") }
    }
    let last = newest(all)
    let harness = try LogHarness(disk: disk) {
      Self.configure(&$0)
      $0.breakages = breakages
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
    try require(log.corruption == nil, log.corruption ?? "")
    let read = try harness.records(log).records
    try require(newest(read) == last, "a key has another last value")
    try require(read.allSatisfy { all.contains($0) }, "a record was never written")
    try require(log.logEnd.rawValue == 180, "the log ends at \(log.logEnd)")
    if isOver { return (read.count, true) }
    try compact(harness)
    try require(newest(harness.records(log).records) == last, "a key has another last value afterwards")
    harness.directory.requestRound(recycle: true)
    try harness.writeBehind()
    let left = disk.allFiles().filter { $0.hasPrefix("topics/") && $0.hasSuffix(".log") }
    try require(left.count == log.summary.segments, "files that no segment has: \(left)")
    try require(!disk.allFiles().contains { $0.hasSuffix(".tmp") }, "an unfinished file was left")
    return (read.count, false)
  }
}
