import SkeinCore
import Testing

@testable import SkeinClient

/// Random schedules of the producer's machine against a broker that follows P3-P6, over a network
/// that loses streams and delivers late. Each failure names its
/// seed; schedules depend on nothing else.
@Suite struct ProducerMachineSimulation {
  static func run(seed: UInt64, faults: ProducerWorld.Faults) -> ProducerWorld {
    var world = ProducerWorld(seed: seed, lanes: 3, faults: faults)
    for _ in 0..<600 where world.machine.failure == nil { world.step() }
    world.settle()
    return world
  }

  /// Order kept, nothing twice, nothing lost, every outcome told once and truly.
  static func check(_ world: ProducerWorld, seed: UInt64) {
    #expect(!world.endedTwice, "seed \(seed): a batch ended twice")
    #expect(world.ended.count == world.sent.count, "seed \(seed): a batch never ended")
    for (lane, partition) in world.partitions.enumerated() {
      let isRising = zip(partition.log, partition.log.dropFirst()).allSatisfy { $0 < $1 }
      #expect(isRising, "seed \(seed), partition \(lane): reordered or duplicated")
    }
    for (number, result) in world.ended {
      guard let (lane, records) = world.sent[number] else { continue }
      let log = world.partitions[lane].log
      switch result {
      case .success(let acknowledgement):
        let base = Int(acknowledgement.baseOffset ?? -1)
        let isThere = base >= 0 && log[base...].starts(with: records)
        #expect(isThere, "seed \(seed): batch \(number) is acknowledged at \(base), but is not there")
      case .failure(let error) where error.outcome == .definite:
        #expect(
          !log.contains { records.contains($0) },
          "seed \(seed): batch \(number) failed for certain, but is there")
      case .failure: break
      }
    }
  }

  @Test func losesAndReordersNothing() {
    for seed in 1...400 as ClosedRange<UInt64> {
      let world = Self.run(seed: seed, faults: .init())
      Self.check(world, seed: seed)
      #expect(world.machine.failure == nil, "seed \(seed): failed though every refusal was worth a retry")
    }
  }

  @Test func refusalsForGoodLeaveNoHole() {
    var survived = 0
    for seed in 1...400 as ClosedRange<UInt64> {
      let world = Self.run(
        seed: seed, faults: .init(streamLoss: 1, overloaded: 3, offline: 0, tooLarge: 8))
      Self.check(world, seed: seed)
      if world.machine.failure == nil { survived += 1 }
    }
    // Only a refusal beside an uncertain batch may end a producer (P10).
    #expect(survived > 10)
  }

  @Test func refusalsForGoodFailOnlyTheirOwnRecords() {
    for seed in 1...200 as ClosedRange<UInt64> {
      let world = Self.run(
        seed: seed, faults: .init(streamLoss: 0, overloaded: 5, offline: 0, tooLarge: 10))
      Self.check(world, seed: seed)
      #expect(world.machine.failure == nil, "seed \(seed)")
    }
  }

  @Test func goesOnWithABrokerThatForgotIt() {
    for seed in 1...200 as ClosedRange<UInt64> {
      let world = Self.run(
        seed: seed, faults: .init(streamLoss: 0, overloaded: 3, offline: 0, forgets: 20))
      Self.check(world, seed: seed)
      #expect(world.machine.failure == nil, "seed \(seed)")
    }
  }

  @Test func worstWeather() {
    for seed in 1...300 as ClosedRange<UInt64> {
      let world = Self.run(
        seed: seed, faults: .init(streamLoss: 8, overloaded: 15, offline: 8, tooLarge: 3))
      Self.check(world, seed: seed)
    }
  }
}
