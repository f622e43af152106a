import Testing

@testable import SkeinClient

/// Lives of up to six members with the real coordinator; see `ConsumerWorld`. A seed that fails is replayed alone by
/// naming it in `seeds`.
@Suite struct ConsumerSimulationTests {
  static let seeds: ClosedRange<UInt64> = 1...300

  @Test func nothingIsLostRepeatedOrCommittedTooEarly() {
    var deliveries = 0
    var moves = 0
    var fences = 0
    for seed in Self.seeds {
      var world = ConsumerWorld(seed: seed)
      do throws(ConsumerWorld.Broken) {
        try world.run(steps: 600)
      } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
      deliveries += world.deliveries
      moves += world.moves
      fences += world.fences
    }
    // The lives were lived.
    #expect(deliveries > 20_000 && moves > 300 && fences > 100, "\(deliveries), \(moves), \(fences)")
  }
}
