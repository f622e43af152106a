import CommitLog
import Glibc
import Simulation
import SkeinCore
import Testing

/// Seeded crash schedules of the journal alone: several lives of writing, syncing, recycling, failing
/// and crashing, each ended by a power cut or a kill and compared with the shadow model.
///
/// One seed replays with `SKEIN_JOURNAL_SEED=n swift test --filter JournalSchedule`.
@Suite("Journal crash schedules")
struct JournalScheduleTests {
  static let seeds: UInt64 = 1200

  @Test func nothingSyncedIsLostOrAltered() throws {
    var lives = 0
    let wanted = getenv("SKEIN_JOURNAL_SEED").flatMap { UInt64(String(cString: $0)) }
    let range = wanted.map { $0..<$0 + 1 } ?? 0..<Self.seeds
    for seed in range {
      do { lives += try Schedule.run(seed: seed) } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
    }
    #expect(lives >= range.count * 3)
  }

  @Test(arguments: [
    ("ack before sync", JournalConfiguration.Breakage.noSync, UInt64(20)),
    ("retry a failed sync", .retryFailedSync, 200),
    ("recycled before segments are synced", .recycleUnsynced, 50),
    ("no directory sync", .noDirectorySync, 100),
    ("space reused before the head is durable", .reuseBeforeHeadIsDurable, 300),
    ("page cache believed after a restart", .trustPageCache, 300),
  ])
  func mutantIsCaught(name: String, breakage: JournalConfiguration.Breakage, within: UInt64) {
    for seed in 0..<within {
      do { _ = try Schedule.run(seed: seed, breakage: breakage) } catch is Violation { return } catch {
        Issue.record("\(name), seed \(seed): \(error)")
        return
      }
    }
    Issue.record("\(name): not caught within \(within) seeds")
  }
}

enum Schedule {
  /// Returns the number of lives. Throws a `Violation`.
  static func run(seed: UInt64, breakage: JournalConfiguration.Breakage = []) throws -> Int {
    let shape = SeededRandom(seed: seed ^ 0x5EED)
    let rig = JournalRig(
      seed: seed, fileSize: [4096, 8192, 16384][shape.below(3)], fileCount: 2 + shape.below(3),
      breakage: breakage)
    let random = rig.random
    let lives = 3 + random.below(4)
    for _ in 0..<lives {
      rig.disk.clearFaults()
      if random.chance(40) { rig.disk.crash(atOperation: rig.disk.operations + 1 + random.below(40)) }
      if random.chance(20) {
        rig.disk.inject(DiskFault(.sync, path: "ring", after: random.below(12), .error(.io)))
      }
      if random.chance(10) {
        rig.disk.inject(DiskFault(.write, path: "ring", after: random.below(12), .error(.io)))
      }
      do {
        try rig.open()
        try live(rig)
      } catch let error as LogError {
        // No fault of the schedule explains anything else.
        guard case .offline = error else { throw Violation("\(error)") }
      }
      rig.journal = nil
      rig.disk.clearFaults()
      if random.chance(75) || rig.disk.isOff && random.chance(90) {
        rig.disk.powerCut(seed: random.next())
      } else {
        rig.disk.kill()
      }
    }
    rig.disk.crash(atOperation: nil)
    do { try rig.open() } catch let error as LogError { throw Violation("\(error)") }
    return lives
  }

  private static func live(_ rig: JournalRig) throws {
    let random = rig.random
    for _ in 0..<(4 + random.below(30)) {
      switch random.below(10) {
      case 0..<5:
        let group = rig.makeGroup(1 + random.below(6), largestBody: random.chance(10) ? 2500 : 700)
        do { try rig.write(group) } catch LogError.journalFull {
          guard let last = rig.model.boundaries.last else { continue }
          try rig.recycle(last)
          do { try rig.write(group) } catch LogError.journalFull {}
        }
      case 5..<9: try rig.sync()
      default:
        if let boundary = rig.model.boundaries.first { try rig.recycle(boundary) }
      }
    }
  }
}
