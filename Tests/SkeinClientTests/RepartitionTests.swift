import RecordFormat
import SkeinCore
import Synchronization
import Testing

@testable import SkeinClient

#if canImport(Glibc)
  import Glibc
#endif

/// PARTITIONER_CHANGED: what was not appended is placed anew, once, in order, whatever the network does.
/// `SKEIN_REPARTITION_SEED=n` runs only seed n, `SKEIN_REPARTITION_SEEDS=n` the first n.
@Suite struct RepartitionTests {
  private static func seeds(_ usual: UInt64) -> ClosedRange<UInt64> {
    func number(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }
    if let one = number("SKEIN_REPARTITION_SEED") { return one...one }
    return 1...max(1, number("SKEIN_REPARTITION_SEEDS") ?? usual)
  }

  private static func check(_ world: RepartitionWorld, seed: UInt64) {
    #expect(
      world.core.failure == nil, "seed \(seed): \(world.core.failure.map(String.init(describing:)) ?? "")")
    var places: [Int: (partition: Int, offset: Int64, time: Int)] = [:]
    var count = 0
    for partition in 0..<world.partitionCount {
      for (offset, entry) in world.log(partition).enumerated() {
        places[entry.number] = (partition, Int64(offset), entry.time)
        count += 1
      }
    }
    #expect(
      count == world.sent.count, "seed \(seed): \(count) records in the log of \(world.sent.count) sent")
    #expect(places.count == count, "seed \(seed): a record is there twice")
    var last: [UInt8: Int] = [:]
    var lastExplicit: [Int32: Int] = [:]
    for (number, sent) in world.sent.enumerated() {
      guard let place = places[number] else { continue }
      if let explicit = sent.explicit {
        #expect(place.partition == Int(explicit), "seed \(seed): record \(number) left its partition")
        #expect(
          place.time > lastExplicit[explicit] ?? 0, "seed \(seed): explicit record \(number) is out of order")
        lastExplicit[explicit] = place.time
      } else if let key = sent.key {
        #expect(place.time > last[key] ?? 0, "seed \(seed): record \(number) of key \(key) is out of order")
        last[key] = place.time
      }
    }
    var told: Set<UInt64> = []
    for delivery in world.delivered {
      guard let acknowledgement = try? delivery.result.get() else {
        Issue.record("seed \(seed): \(delivery.result)")
        continue
      }
      for (index, tag) in delivery.tags.enumerated() {
        #expect(told.insert(tag).inserted, "seed \(seed): record \(tag) was told twice")
        let place = places[Int(tag)]
        #expect(
          place?.partition == Int(delivery.partition)
            && place?.offset == acknowledgement.baseOffset.map { $0 + Int64(index) },
          "seed \(seed): record \(tag) is told at another place")
      }
    }
    #expect(told.count == world.sent.count, "seed \(seed): records whose end was never told")
  }

  @Test(arguments: [Codec.none, .zstd])
  func nothingIsLostRepeatedOrReordered(_ codec: Codec) throws {
    var (refusals, growths) = (0, 0)
    let seeds = Self.seeds(codec == .none ? 150 : 20)
    for seed in seeds {
      let world = try RepartitionWorld(seed: seed, codec: codec)
      for _ in 0..<700 where world.core.failure == nil { try world.step() }
      try world.settle()
      Self.check(world, seed: seed)
      refusals += world.refusals
      growths += world.growths
    }
    // The schedules must meet what they are about.
    guard seeds.count > 1 else { return }
    #expect(refusals > 100 && growths > 50, "\(refusals) refusals, \(growths) growths")
  }

  @Test(arguments: [Codec.none, .zstd])
  func swapsOfPluginsLoseRepeatAndReorderNothing(_ codec: Codec) throws {
    var (refusals, plugins, builtIns, fenced) = (0, 0, 0, 0)
    var questions: [String: Int] = [:]
    let seeds = Self.seeds(codec == .none ? 300 : 20)
    for seed in seeds {
      let world = try RepartitionWorld(seed: seed, codec: codec, swaps: true)
      for _ in 0..<700 where world.core.failure == nil { try world.step() }
      try world.settle()
      Self.check(world, seed: seed)
      #expect(world.misplaced.isEmpty, "seed \(seed): \(world.misplaced)")
      refusals += world.refusals
      plugins += world.pluginSwaps
      builtIns += world.builtInSwaps
      fenced += world.fenced
      questions.merge(world.questionRefusals, uniquingKeysWith: +)
      questions["asked", default: 0] += world.questions
    }
    guard seeds.count > 1 else { return }
    let met = min(
      refusals, plugins, builtIns, fenced, questions["PARTITIONER_CHANGED"] ?? 0,
      questions["PARTITIONER_UNAVAILABLE"] ?? 0, questions["SWAP_IN_PROGRESS"] ?? 0)
    #expect(met > (codec == .none ? 100 : 10), "\(refusals) \(plugins) \(builtIns) \(fenced) \(questions)")
  }

  @Test(arguments: [false, true]) func aFlushWaitsForRecordsThatWerePlacedAnew(_ swaps: Bool) async throws {
    let world = try RepartitionWorld(seed: 1, swaps: swaps)
    for _ in 0..<50 { try world.produce() }
    world.connect()
    if swaps { while world.pluginSwaps == 0 { world.swap() } } else { world.grow() }
    let core = world.core
    let isOver = Mutex(false)
    let flush = Task {
      let error = await core.flush()
      isOver.withLock { $0 = true }
      return error
    }
    while !core.isFlushing { await Task.yield() }
    for _ in 0..<10 {
      world.send()
      try world.brokerStep()
      world.reply()
    }
    #expect(world.refusals > 0 && !isOver.withLock { $0 })
    try world.settle()
    #expect(await flush.value == nil && world.isFlushed == true)
    Self.check(world, seed: 1)
  }

  @Test func aTopicThatIsGoneDoesNotHoldItsRecordsForEver() throws {
    let world = try RepartitionWorld(seed: 2)
    for _ in 0..<10 { try world.produce() }
    world.connect()
    world.grow()
    world.send()
    try world.brokerStep()
    world.reply()
    let stale = world.core.takeStaleTopics()
    #expect(stale.map(\.name) == ["t"])
    _ = world.core.pumpBegins()
    #expect(world.core.nextSending() == nil, "a held lane sends nothing")
    world.core.refreshFailed(world.topic, isGone: true)
    _ = world.core.pumpBegins()
    #expect(world.core.nextSending() != nil, "released, so that the broker says what is wrong")
  }

  @Test func placementKnowsWhichRecordsWereExplicit() {
    let placement = Placement(startsExplicit: false, switches: [3, 5])
    var next = 0
    #expect(
      (0..<8).map { placement.isExplicit(Int32($0), &next) } == [
        false, false, false, true, true, false, false, false,
      ])
    var none = 0
    #expect(Placement(startsExplicit: true).isExplicit(7, &none))
  }
}
