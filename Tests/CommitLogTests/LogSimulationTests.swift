import CommitLog
import Simulation
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Seeded crash schedules of journal and log. `SKEIN_SIMULATION_SEED=n` runs only seed n,
/// `SKEIN_SIMULATION_SEEDS=n` runs n instead of 1,000.
@Suite struct LogSimulationTests {
  private static let shards = 4

  private static func number(_ name: String) -> UInt64? {
    getenv(name).flatMap { UInt64(String(cString: $0)) }
  }

  /// The same seed is the same run, to the last count.
  @Test func schedulesRepeat() throws {
    for seed: UInt64 in 0..<10 {
      let first = try LogSimulation(seed: seed).run()
      let second = try LogSimulation(seed: seed).run()
      #expect(first == second)
    }
  }

  @Test(arguments: 0..<shards) func schedulesKeepEveryPromise(shard: Int) throws {
    if let seed = Self.number("SKEIN_SIMULATION_SEED") {
      guard shard == 0 else { return }
      var options = LogSimulation.Options()
      options.trace = { print($0) }
      print("seed \(seed): \(try LogSimulation(seed: seed, options: options).run())")
      return
    }
    var total = LogSimulation.Statistics()
    let count = Int(Self.number("SKEIN_SIMULATION_SEEDS") ?? 1000)
    for seed in stride(from: shard, to: count, by: Self.shards) {
      if getenv("SKEIN_SIMULATION_PROGRESS") != nil { print("seed \(seed)") }
      total.add(try LogSimulation(seed: UInt64(seed)).run())
    }
    print("shard \(shard): \(total)")
    // A schedule that does nothing finds nothing.
    #expect(total.acknowledgements > count && total.restarts > count / 4 && total.powerCuts > count / 8)
    #expect(total.fileReads > 0 && total.duplicates > 0 && total.deletes > 0)
  }
}

/// Each deliberate defect must be caught within a bounded number of seeds; otherwise a green run of
/// the schedules above proves nothing.
@Suite struct LogMutantTests {
  struct Mutant: Sendable, CustomTestStringConvertible {
    var name: String
    var breakages: Set<LogBreakage> = []
    var journal: JournalConfiguration.Breakage = []
    var testDescription: String { name }
  }

  static let mutants: [Mutant] = [
    Mutant(name: "acknowledge before the sync", breakages: [.acknowledgeBeforeSync]),
    Mutant(name: "journal never syncs", journal: .noSync),
    Mutant(name: "no directory sync", breakages: [.skipDirectorySync]),
    Mutant(
      name: "retry a failed sync and believe it", breakages: [.retryFailedSync], journal: .retryFailedSync),
    Mutant(name: "corrupt journal middle cut as torn", journal: .cutCorruptMiddle),
    Mutant(name: "producer snapshot forgotten", breakages: [.forgetProducerSnapshot]),
    Mutant(name: "recycled before segments are synced", breakages: [.recycleBeforeSync]),
    Mutant(name: "journal recycles on its own", journal: .recycleUnsynced),
    Mutant(name: "log start not recovered", breakages: [.forgetLogStart]),
    Mutant(name: "leader epoch kept", breakages: [.keepLeaderEpoch]),
  ]

  @Test(arguments: mutants) func isCaught(_ mutant: Mutant) throws {
    let limit: UInt64 = 400
    for seed in 0..<limit {
      var options = LogSimulation.Options()
      options.breakages = mutant.breakages
      options.journalBreakage = mutant.journal
      options.damagesOften = mutant.journal.contains(.cutCorruptMiddle)
      if getenv("SKEIN_SIMULATION_PROGRESS") != nil { print("\(mutant.name): seed \(seed)") }
      do { _ = try LogSimulation(seed: seed, options: options).run() } catch {
        print("\(mutant.name): \(error)")
        return
      }
    }
    Issue.record("\(mutant.name): not caught within \(limit) seeds")
  }
}
