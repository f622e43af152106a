import CommitLog
import Simulation
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Seeded lives of compacted partitions. `SKEIN_COMPACTION_SEED=n` runs only seed n, with a trace;
/// `SKEIN_COMPACTION_SEEDS=n` runs n instead of 240.
@Suite struct CompactionSimulationTests {
  private static let shards = 4

  private static func number(_ name: String) -> UInt64? {
    getenv(name).flatMap { UInt64(String(cString: $0)) }
  }

  @Test func schedulesRepeat() throws {
    for seed: UInt64 in 0..<5 {
      let first = try CompactionSimulation(seed: seed).run()
      let second = try CompactionSimulation(seed: seed).run()
      #expect(first == second)
    }
  }

  @Test(arguments: 0..<shards) func theLastValueOfEveryKeySurvives(shard: Int) throws {
    if let seed = Self.number("SKEIN_COMPACTION_SEED") {
      guard shard == 0 else { return }
      var options = CompactionSimulation.Options()
      options.trace = { print($0) }
      print("seed \(seed): \(try CompactionSimulation(seed: seed, options: options).run())")
      return
    }
    var total = CompactionSimulation.Statistics()
    let count = Int(Self.number("SKEIN_COMPACTION_SEEDS") ?? 240)
    for seed in stride(from: shard, to: count, by: Self.shards) {
      total.add(try CompactionSimulation(seed: UInt64(seed)).run())
    }
    print("shard \(shard): \(total)")
    let runs = count / Self.shards
    // A schedule that does nothing finds nothing.
    #expect(total.rounds > runs * 2 && total.dropped > runs * 20 && total.tombstonesDropped > runs)
    #expect(total.restarts > runs && total.powerCuts > runs / 4 && total.lostCheckpoints > runs / 10)
    #expect(total.finalRounds > runs * 2, "the map holds all keys")
  }
}

/// Each deliberate defect of the cleaner must be caught within a bounded number of seeds.
@Suite struct CompactionMutantTests {
  static let mutants: [LogBreakage] = [
    .compactWithoutSync, .compactWithoutDirectorySync, .compactRemovesEarly, .compactDropsTombstonesAtOnce,
    .compactForgetsProducers, .compactTrustsHash, .compactClaimsTooMuch, .compactKeepsFirst,
    .compactInstallsBlindly, .compactLeavesHoles, .compactKeepsTail,
  ]

  @Test(arguments: mutants) func isCaught(_ mutant: LogBreakage) throws {
    let limit: UInt64 = 400
    for seed in 0..<limit {
      var options = CompactionSimulation.Options()
      options.breakages = [mutant]
      do { _ = try CompactionSimulation(seed: seed, options: options).run() } catch {
        print("\(mutant): \(error)")
        return
      }
    }
    Issue.record("\(mutant): not caught within \(limit) seeds")
  }
}
