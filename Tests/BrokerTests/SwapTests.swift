import RecordFormat
import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

typealias SwapClient = StreamClient<BindPartitionerRequest, BindProgress>
typealias RollbackClient = StreamClient<RollbackPartitionerRequest, BindProgress>

/// A live topic gets another partitioner: what is told, what is committed, what publishers meet.
@Suite(.serialized) struct SwapTests {
  /// Binds topic "t" and returns everything that was told, with the fault at the end, if any.
  static func bind(
    _ connection: GRPCConnection, _ partitioner: String, fence: Bool = false, acceptReorder: Bool = false,
    watch: Int64 = 0, revision: Int64 = 0, fallback: String = "", config: String = ""
  ) async throws -> (told: [BindProgress], fault: Fault?) {
    let stream = try await SwapClient.open(PluginsMethod.bind, on: connection)
    try await stream.send(
      BindPartitionerRequest(
        topic: "t",
        binding: PartitionerBinding(partitioner: partitioner, config: config, fallback: fallback),
        fence: fence, acceptReorder: acceptReorder, watchMs: watch, expectedRevision: revision))
    try await stream.sendEnd()
    return try await all(stream)
  }

  static func rollback(
    _ connection: GRPCConnection, fence: Bool = false, acceptReorder: Bool = false
  ) async throws -> (told: [BindProgress], fault: Fault?) {
    let stream = try await RollbackClient.open(PluginsMethod.rollback, on: connection)
    try await stream.send(
      RollbackPartitionerRequest(topic: "t", fence: fence, acceptReorder: acceptReorder))
    try await stream.sendEnd()
    return try await all(stream)
  }

  private static func all<Request>(
    _ stream: StreamClient<Request, BindProgress>
  ) async throws -> (told: [BindProgress], fault: Fault?) {
    var told: [BindProgress] = []
    while let progress = try await stream.next() { told.append(progress) }
    let status = try await stream.status()
    return (told, status.code == .ok ? nil : try await stream.fault())
  }

  static func describe(_ connection: GRPCConnection) async throws -> DescribeTopicResponse {
    try await connection.call(TopicsMethod.describe, DescribeTopicRequest(name: "t"))
  }

  static func keyed(_ keys: Range<Int>) -> [Record] {
    keys.map { Record(key: SharedBytes(Array("key-\($0)".utf8)), value: SharedBytes([1])) }
  }

  @Test func aSwapIsToldInOrderAndCanBeTakenBack() async throws {
    let (test, connection) = try await StreamTests.setUp(partitions: 4)
    let _: PublishResponse = try await connection.call(
      ProducerMethod.publish, PublishRequest(topic: "t", records: Self.keyed(0..<200)))
    let none = try await Self.rollback(connection)
    #expect(none.fault?.reason == .noEarlierGeneration && none.told.isEmpty)

    let diff: DiffPartitionerResponse = try await connection.call(
      PluginsMethod.diff,
      DiffPartitionerRequest(topic: "t", binding: PartitionerBinding(partitioner: "sticky")))
    #expect(diff.sampled == 200 && diff.moved == 200)
    #expect(diff.before.reduce(0, +) == 200 && diff.after == [50, 50, 50, 50])
    let same: DiffPartitionerResponse = try await connection.call(
      PluginsMethod.diff,
      DiffPartitionerRequest(topic: "t", binding: PartitionerBinding(partitioner: "murmur2")))
    #expect(same.sampled == 200 && same.moved == 0 && same.before == same.after)

    let refused = try await Self.bind(connection, "sticky")
    #expect(refused.fault?.reason == .reorderNotAccepted && refused.fault?.metadata["moved"] == "200")
    #expect(try await Self.describe(connection).topic?.generation == 1)

    let swapped = try await Self.bind(connection, "sticky", fence: true)
    #expect(swapped.fault == nil)
    #expect(swapped.told.map(\.phase) == [.prepared, .fenced, .committed, .flipped, .drained, .done])
    #expect(swapped.told.first?.moved == 200 && swapped.told.first?.generation == 2)
    #expect(swapped.told.map(\.elapsedUs) == swapped.told.map(\.elapsedUs).sorted())
    #expect((swapped.told.first { $0.phase == .flipped }?.pauseUs ?? 0) > 0)

    let described = try await Self.describe(connection)
    let (old, new) = (described.generations[0], described.generations[1])
    #expect(described.topic?.generation == 2 && described.topic?.partitioner == "sticky")
    #expect(old.partitioner == "murmur2" && !old.fenced && new.fenced && new.partitions == 4)
    #expect(new.cuts == described.partitions.map(\.logEndOffset) && new.cuts.reduce(0, +) == 200)

    let late = try await Self.bind(connection, "murmur2", acceptReorder: true, revision: 1 << 40)
    #expect(late.fault?.reason == .conflict)
    // From no order to an order nothing can be lost.
    let back = try await Self.rollback(connection)
    #expect(back.told.map(\.phase) == [.prepared, .committed, .flipped, .drained, .done])
    let after = try await Self.describe(connection)
    #expect(after.topic?.partitioner == "murmur2" && after.generations.last?.rollsBackTo == 1)
    #expect(after.generations.map(\.generation) == [1, 2, 3] && after.generations.last?.cuts == [])

    await connection.close()
    await test.stop()
    let again = try await TestBroker.start(folder: test.folder, identities: test.issuer)
    let second = try await again.connect()
    #expect(try await Self.describe(second).generations == after.generations)
    await second.close()
    await again.remove()
  }

  /// P4 before the generation, and no sequence is consumed by a refusal.
  @Test func batchesAcrossAFlip() async throws {
    let (test, connection) = try await StreamTests.setUp(partitions: 2)
    let (stream, opened) = try await StreamTests.open(connection)
    let id = opened.producerID
    func publish(_ request: UInt64, sequence: Int32, generation: UInt32) async throws -> BatchAck {
      let batch = try StreamTests.batch(2, producer: id, epoch: 0, sequence: sequence)
      try await stream.send(
        PublishStreamRequest(target: StreamTests.target(request, generation: generation), batch: batch))
      return try #require(try await StreamTests.acks(stream, 1).first)
    }
    #expect(try await publish(1, sequence: 0, generation: 1).baseOffset == 0)
    #expect(try await Self.bind(connection, "round-robin", fence: true).fault == nil)
    let retry = try await publish(2, sequence: 0, generation: 1)
    #expect(retry.duplicate && retry.baseOffset == 0 && retry.error == nil)
    let old = try #require(try await publish(3, sequence: 2, generation: 1).error)
    #expect(Fault(old).reason == .partitionerChanged && Fault(old).metadata["generation"] == "2")
    let next = try await publish(4, sequence: 2, generation: 2)
    #expect(next.error == nil && next.baseOffset == 2)
    #expect(try await Self.describe(connection).generations.last?.cuts == [2, 0])
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }

  @Test func badRequestsSayWhatIsWrong() async throws {
    let (test, connection) = try await StreamTests.setUp(partitions: 2)
    let stream = try await SwapClient.open(PluginsMethod.bind, on: connection)
    try await stream.send(
      BindPartitionerRequest(
        topic: "t",
        binding: PartitionerBinding(partitioner: "murmur3", weights: [1, 2, 3], fallback: "perhaps")))
    let refused = try await stream.fault()
    #expect(
      refused.violations.map(\.field) == ["binding.partitioner", "binding.weights", "binding.fallback"])
    let configured = try await Self.bind(connection, "sticky", config: "{\"a\":1}")
    #expect(configured.fault?.violations.map(\.field) == ["binding.config"])
    let absent = try await Self.bind(connection, "com.acme.none@1.0.0")
    #expect(absent.fault?.reason == .pluginNotFound)
    let long = try await Self.bind(connection, "sticky", watch: -1)
    #expect(long.fault?.violations.map(\.field) == ["watch_ms"])
    let nobody = await fault {
      let _: DiffPartitionerResponse = try await connection.call(
        PluginsMethod.diff,
        DiffPartitionerRequest(topic: "u", binding: PartitionerBinding(partitioner: "sticky")))
    }
    #expect(nobody?.reason == .topicNotFound)
    let created = await fault {
      let _: CreateTopicResponse = try await connection.call(
        TopicsMethod.create,
        CreateTopicRequest(name: "v", partitions: 2, partitioner: "com.acme.none@1.0.0"))
    }
    #expect(created?.reason == .pluginNotFound)
    #expect(try await Self.describe(connection).topic?.generation == 1)
    await connection.close()
    await test.remove()
  }

  /// A built-in answers too, for clients that do not know it.
  @Test func assignAnswersForBuiltIns() async throws {
    let (test, connection) = try await StreamTests.setUp(partitions: 3)
    let (stream, _) = try await StreamTests.open(connection)
    func ask(
      _ id: UInt64, _ lengths: [UInt32], _ keys: String, generation: UInt32 = 1, headers: [UInt32] = []
    ) async throws -> AssignAnswer {
      try await stream.send(
        PublishStreamRequest(
          assign: AssignRequest(
            requestID: id, topic: "t", generation: generation, keyLengths: lengths, headerLengths: headers,
            keys: SharedBytes(Array(keys.utf8)))))
      return try #require(try await stream.next()?.assigned.first)
    }
    let answer = try await ask(1, [2, 0, 4, 1], "abcd")
    let expected = ["a", nil, "bcd", ""].map { key -> Int32 in
      guard let key else { return -1 }
      return Array(key.utf8).withUnsafeBytes { Murmur2.partition($0, count: 3) }
    }
    #expect(answer.partitions == expected && answer.requestID == 1 && answer.generation == 1)
    for (lengths, keys, headers) in [
      ([], "", []), ([3], "a", []), ([2], "ab", []), ([2], "a", [1]),
      ([UInt32](repeating: 0, count: 10_001), "", []), ([UInt32.max, UInt32.max], "a", []),
    ] as [([UInt32], String, [UInt32])] {
      let error = try #require(try await ask(2, lengths, keys, headers: headers).error)
      #expect(Fault(error).reason == .invalidRequest)
    }
    let other = try #require(try await ask(3, [2], "a", generation: 2).error)
    #expect(Fault(other).reason == .partitionerChanged && Fault(other).metadata["generation"] == "1")
    let most = try await ask(4, [UInt32](repeating: 2, count: 10_000), String(repeating: "a", count: 10_000))
    #expect(most.partitions == Array(repeating: expected[0], count: 10_000))
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }
}
