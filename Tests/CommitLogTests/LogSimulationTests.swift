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

  @Test(arguments: 0..<shards) func schedulesKeepEveryPromise(shard: Int) throws {
    if let seed = Self.number("SKEIN_SIMULATION_SEED") {
      guard shard == 0 else { return }
      print("seed \(seed): \(try LogSimulation(seed: seed).run())")
      return
    }
    var total = LogSimulation.Statistics()
    let count = Int(Self.number("SKEIN_SIMULATION_SEEDS") ?? 1000)
    for seed in stride(from: shard, to: count, by: Self.shards) {
      total.add(try LogSimulation(seed: UInt64(seed)).run())
    }
    print("shard \(shard): \(total)")
    // A schedule that does nothing finds nothing.
    #expect(total.acknowledgements > count && total.restarts > count / 4 && total.powerCuts > count / 8)
    #expect(total.fileReads > 0 && total.duplicates > 0 && total.deletes > 0)
  }
}
