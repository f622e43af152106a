import GroupCoordination
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Seeded lives of a group. `SKEIN_SIMULATION_SEED=n` runs only seed n and tells everything,
/// `SKEIN_SIMULATION_SEEDS=n` runs n instead of 5,000 (`make soak`: 200,000).
@Suite struct GroupSimulationTests {
  private static let shards = 4

  private static func number(_ name: String) -> UInt64? {
    getenv(name).flatMap { UInt64(String(cString: $0)) }
  }

  /// The same seed is the same run, to the last count.
  @Test func livesRepeat() throws {
    for seed: UInt64 in 0..<20 {
      var (first, second) = (GroupSimulation(seed: seed), GroupSimulation(seed: seed))
      #expect(try first.run() == second.run())
    }
  }

  @Test(arguments: 0..<shards) func livesKeepEveryRule(shard: Int) throws {
    if let seed = Self.number("SKEIN_SIMULATION_SEED") {
      guard shard == 0 else { return }
      var options = GroupSimulation.Options()
      options.trace = { print($0) }
      var simulation = GroupSimulation(seed: seed, options: options)
      print("seed \(seed): \(try simulation.run())")
      return
    }
    var total = GroupSimulation.Statistics()
    let count = Int(Self.number("SKEIN_SIMULATION_SEEDS") ?? 5000)
    for seed in stride(from: shard, to: count, by: Self.shards) {
      var simulation = GroupSimulation(seed: UInt64(seed))
      total.add(try simulation.run())
    }
    print("shard \(shard): \(total)")
    // A life in which nothing happens shows nothing.
    #expect(total.handovers > count / 2 && total.commits > count / 4 && total.refused > count / 40)
    #expect(total.restarts > count / 8 && total.expiries > count / 4 && total.resumes > count / 4)
    #expect(total.takeovers > count / 40 && total.deletions > 0)
  }
}

/// Each deliberate defect must be caught within a bounded number of seeds; otherwise a green run of the lives above
/// proves nothing.
@Suite struct GroupMutantTests {
  static let seeds: UInt64 = 400

  @Test(arguments: GroupBreakage.allCases) func isCaught(_ mutant: GroupBreakage) throws {
    for seed in 0..<Self.seeds {
      var options = GroupSimulation.Options()
      options.breakages = [mutant]
      var simulation = GroupSimulation(seed: seed, options: options)
      do { _ = try simulation.run() } catch {
        print("\(mutant): \(error)")
        return
      }
    }
    Issue.record("\(mutant): not caught within \(Self.seeds) seeds")
  }
}
