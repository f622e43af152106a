import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// What happens behind the commit: drain, watch, the way back, and a broker that ends in between.
@Suite(.serialized) struct SwapWatchTests {
  private static let bad = "com.acme.bad@1.0.0"
  private static let good = "com.acme.good@2.0.0"

  private static func start(
    _ fakes: FakePartitioners, after old: TestBroker? = nil
  ) async throws -> (TestBroker, GRPCConnection) {
    let test = try await TestBroker.start(folder: old?.folder, identities: old?.issuer) {
      $0.partitionerSource = fakes
    }
    let connection = try await test.connect()
    if old == nil {
      let _: CreateTopicResponse = try await connection.call(
        TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 4))
    }
    return (test, connection)
  }

  @discardableResult
  private static func publish(_ connection: GRPCConnection, _ count: Int = 1) async throws -> [RecordResult] {
    let response: PublishResponse = try await connection.call(
      ProducerMethod.publish, PublishRequest(topic: "t", records: SwapTests.keyed(0..<count)))
    return response.results
  }

  private static func open(
    _ connection: GRPCConnection, _ partitioner: String, fence: Bool = false, watch: Int64 = 60_000
  ) async throws -> SwapClient {
    let stream = try await SwapClient.open(PluginsMethod.bind, on: connection)
    try await stream.send(
      BindPartitionerRequest(
        topic: "t", binding: PartitionerBinding(partitioner: partitioner), fence: fence,
        acceptReorder: !fence, watchMs: watch))
    return stream
  }

  /// The messages up to and including that phase.
  private static func until(_ phase: BindPhase, _ stream: SwapClient) async throws -> [BindProgress] {
    var told: [BindProgress] = []
    while told.last?.phase != phase, let next = try await stream.next() { told.append(next) }
    return told
  }

  @Test func aBadPlugInIsRolledBack() async throws {
    // Good for the sample and for the first records, then not.
    let fakes = FakePartitioners([Self.bad: .shifted(1), Self.good: .shifted(2)])
    let (test, connection) = try await Self.start(fakes)
    let first = try await SwapTests.bind(connection, Self.good, acceptReorder: true, watch: 1)
    #expect(first.told.map(\.phase).suffix(3) == [.drained, .watching, .done], "\(first)")
    try await Self.publish(connection, 20)

    let stream = try await Self.open(connection, Self.bad, fence: true)
    let told = try await Self.until(.watching, stream)
    #expect(
      told.map(\.phase) == [.prepared, .fenced, .committed, .flipped, .drained, .watching])
    #expect(told[0].sampled == 20 && told[0].moved == 20)
    #expect(try await Self.publish(connection).first?.error == nil)
    #expect(fakes.live == 2)  // the old one is warm
    // Nobody else may change it now, but for going back.
    let other = try await SwapTests.bind(connection, "murmur2", acceptReorder: true)
    #expect(other.fault?.reason == .swapInProgress && other.fault?.metadata["phase"] == "watch")

    fakes.set(Self.bad, .outOfRange)
    for _ in 0..<3 {
      let refused = Fault(try #require(try await Self.publish(connection).first?.error))
      #expect(refused.reason == .partitionerUnavailable)
    }
    let end = try #require(try await stream.next())
    #expect(end.phase == .rolledBack && end.generation == 4 && end.rolledBackTo == 2)
    #expect(end.problem.map { Fault($0).message.contains("out of range") } == true)
    #expect(try await stream.status().code == .ok)

    #expect(try await Self.publish(connection).first?.error == nil)
    let generations = try await SwapTests.describe(connection).generations
    #expect(generations.map(\.partitioner) == ["murmur2", Self.good, Self.bad, Self.good])
    #expect(generations.map(\.rollsBackTo) == [0, 0, 0, 2])
    // As the swap that it takes back: fenced, too.
    #expect(generations.map(\.fenced) == [false, false, true, true])
    #expect(generations[3].reason.contains("out of range"))
    // The warm one was used again, and the bad one is gone.
    #expect(fakes.loads.count == 2 && fakes.live == 1)
    let page = try await MetricsPage.render(test.broker.context, budget: test.broker.budget)
    #expect(page.contains("skein_partitioner_swaps_total{result=\"rolled_back\"} 1"))
    #expect(page.contains("skein_partitioner_swaps_open 0"))
    await connection.close()
    await test.remove()
  }

  @Test func theOperatorMayGoBackWhileItIsWatched() async throws {
    let fakes = FakePartitioners([Self.good: .shifted(2)])
    let (test, connection) = try await Self.start(fakes)
    let stream = try await Self.open(connection, Self.good)
    _ = try await Self.until(.watching, stream)
    try await Self.publish(connection, 20)
    // Refused: the watch goes on.
    let refused = try await SwapTests.rollback(connection)
    #expect(refused.fault?.reason == .reorderNotAccepted)
    #expect(test.broker.context.partitioning.swapsInProgress == 1)
    let back = try await SwapTests.rollback(connection, acceptReorder: true)
    #expect(back.told.last?.phase == .done && back.told.last?.generation == 3)
    #expect(try await stream.fault().reason == .conflict)
    #expect(try await SwapTests.describe(connection).topic?.partitioner == "murmur2")
    while test.broker.context.partitioning.swapsInProgress > 0 { await Task.yield() }
    #expect(fakes.live == 0)
    await connection.close()
    await test.remove()
  }

  /// A call of the old instance that is open at the flip: the swap is drained when it has ended, and its records
  /// are placed by the new one, for their batch would have been the old generation's.
  @Test func aCallOverTheFlipEndsUnderTheNewGeneration() async throws {
    let fakes = FakePartitioners([Self.good: .shifted(2), Self.bad: .shifted(1)])
    let (test, connection) = try await Self.start(fakes)
    _ = try await SwapTests.bind(connection, Self.bad, acceptReorder: true, watch: 1)
    fakes.set(Self.bad, .held)
    async let published = Self.publish(connection, 10)
    while fakes.held == 0 { await Task.yield() }
    let stream = try await Self.open(connection, Self.good, watch: 1)
    let told = try await Self.until(.flipped, stream)
    #expect(told.map(\.phase) == [.prepared, .committed, .flipped])
    fakes.release()
    let results = try await published
    #expect(try await Self.until(.done, stream).map(\.phase) == [.drained, .watching, .done])
    let expected = (0..<10).map { number in
      Array("key-\(number)".utf8).withUnsafeBytes { (Murmur2.partition($0, count: 4) + 2) % 4 }
    }
    #expect(results.map(\.partition) == expected && results.allSatisfy { $0.error == nil })
    #expect(fakes.live == 1)
    await connection.close()
    await test.remove()
  }

  /// The caller is gone and the broker was killed: its next start watches on, and rolls back.
  @Test func aRestartGoesOnWithTheWatch() async throws {
    let fakes = FakePartitioners([Self.bad: .shifted(1)])
    let (test, connection) = try await Self.start(fakes)
    let stream = try await Self.open(connection, Self.bad)
    _ = try await Self.until(.committed, stream)
    try await stream.cancel()
    // Left after the commit: the broker goes on.
    while try await SwapTests.describe(connection).topic?.generation != 2 { await Task.yield() }
    await connection.close()
    await test.kill()

    fakes.set(Self.bad, .fails(Fault(.pluginFault, "it crashes")))
    let (again, second) = try await Self.start(fakes, after: test)
    #expect(again.broker.context.partitioning.swapsInProgress == 1)
    for _ in 0..<3 { try await Self.publish(second) }
    while try await SwapTests.describe(second).topic?.generation == 2 { await Task.yield() }
    let generations = try await SwapTests.describe(second).generations
    #expect(generations.last?.partitioner == "murmur2" && generations.last?.rollsBackTo == 1)
    #expect(generations.last?.reason.contains("it crashes") == true)
    #expect(try await Self.publish(second).first?.error == nil)
    await second.close()
    await again.remove()
  }

  /// Killed after each message: the committed generation is in force after the start, and no other.
  @Test(arguments: [BindPhase.prepared, .fenced, .committed, .flipped, .drained, .watching])
  func aKillLeavesTheCommittedGeneration(_ phase: BindPhase) async throws {
    let fakes = FakePartitioners([Self.good: .shifted(1)])
    let (test, connection) = try await Self.start(fakes)
    try await Self.publish(connection, 20)
    let stream = try await Self.open(connection, Self.good, fence: true)
    _ = try await Self.until(phase, stream)
    await test.kill()
    await connection.close()
    let (again, second) = try await Self.start(fakes, after: test)
    let described = try await SwapTests.describe(second)
    let generation = try #require(described.topic?.generation)
    #expect(generation == 2 || (generation == 1 && phase.rawValue < BindPhase.committed.rawValue))
    #expect(described.generations.last?.generation == generation)
    let results = try await Self.publish(second, 20)
    let by: Int32 = generation == 2 ? 1 : 0
    for (number, result) in results.enumerated() {
      let place = Array("key-\(number)".utf8).withUnsafeBytes { Murmur2.partition($0, count: 4) }
      #expect(result.partition == (place + by) % 4 && result.error == nil)
    }
    if generation == 2 {
      // Everything old stands below the cuts, everything new from there on.
      let cuts = described.generations[1].cuts
      #expect(cuts.reduce(0, +) == 20)
      #expect(results.allSatisfy { $0.offset >= cuts[Int($0.partition)] })
    }
    await second.close()
    await again.remove()
  }
}
