import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// Topics whose partitioner is a plug-in: who is asked, in which order answers go, and what happens without one.
@Suite(.serialized) struct PartitionerPluginTests {
  private static let id = "com.acme.fake@1.0.0"

  static func setUp(
    _ behaviour: FakePartitioners.Behaviour, partitions: Int32 = 4, fallback: String = ""
  ) async throws -> (TestBroker, GRPCConnection, FakePartitioners) {
    let fakes = FakePartitioners([id: behaviour])
    let test = try await TestBroker.start { $0.partitionerSource = fakes }
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create,
      CreateTopicRequest(
        name: "t", partitions: partitions, partitioner: id, partitionerConfig: "{\"a\":1}",
        partitionerFallback: fallback))
    return (test, connection, fakes)
  }

  private func publish(_ connection: GRPCConnection, _ records: [Record]) async throws -> [RecordResult] {
    let response: PublishResponse = try await connection.call(
      ProducerMethod.publish, PublishRequest(topic: "t", records: records))
    return response.results
  }

  @Test func publishAsksThePlugIn() async throws {
    let (test, connection, fakes) = try await Self.setUp(.header)
    #expect(fakes.loads == ["\(Self.id) {\"a\":1} t"] && fakes.live == 1)
    let topic = try #require(try await SwapTests.describe(connection).topic)
    #expect(topic.partitioner == Self.id && topic.brokerAssigns && topic.partitionerHeaders == ["to"])
    func to(_ header: String?, partition: Int32? = nil) -> Record {
      Record(
        value: SharedBytes([1]),
        headers: header.map {
          [Header(name: "x", value: .empty), Header(name: "to", value: SharedBytes(Array($0.utf8)))]
        } ?? [],
        partition: partition)
    }
    let results = try await publish(
      connection, [to("3"), to("1"), to("3"), to("2", partition: 0), to(nil), to(nil)])
    #expect(results.prefix(4).map(\.partition) == [3, 1, 3, 0] && results.allSatisfy { $0.error == nil })
    // Anywhere, but together: one batch.
    #expect(results[4].partition == results[5].partition)
    #expect(results[0].offset < results[2].offset)

    // More partitions keep the binding, and the instance.
    let _: AddPartitionsResponse = try await connection.call(
      TopicsMethod.addPartitions, AddPartitionsRequest(name: "t", partitions: 6))
    #expect(try await publish(connection, [to("5")]).map(\.partition) == [5])
    let grown = try await SwapTests.describe(connection)
    #expect(grown.generations.map(\.partitioner) == [Self.id, Self.id] && fakes.live == 1)
    #expect(grown.generations.map(\.config) == ["{\"a\":1}", "{\"a\":1}"])

    let _: DeleteTopicResponse = try await connection.call(TopicsMethod.delete, DeleteTopicRequest(name: "t"))
    #expect(fakes.live == 0)
    await connection.close()
    await test.remove()
  }

  /// Answers go in the order of the questions, whichever order the plug-in has, and none is lost when the
  /// client has said that it is through.
  @Test func assignIsAnsweredInOrder() async throws {
    let (test, connection, fakes) = try await Self.setUp(.held)
    let (stream, _) = try await StreamTests.open(connection)
    let count = AssignQueue.maximum + 10
    for id in 1...count {
      try await stream.send(
        PublishStreamRequest(
          assign: AssignRequest(
            requestID: UInt64(id), topic: "t", generation: 1, keyLengths: [3],
            keys: SharedBytes(Array("\(10 + id % 10)".utf8)))))
    }
    try await stream.sendEnd()
    var answers: [AssignAnswer] = []
    while answers.count < count {
      // What is beyond the bound waits on the stream until the first are answered.
      while fakes.held == 0 { await Task.yield() }
      #expect(fakes.held <= AssignQueue.maximum)
      fakes.release()
      answers += try #require(try await stream.next()).assigned
    }
    #expect(answers.map(\.requestID) == (1...UInt64(count)).map { $0 })
    #expect(answers.allSatisfy { $0.error == nil && $0.generation == 1 })
    for answer in answers.prefix(10) {
      let key = Array("\(10 + answer.requestID % 10)".utf8)
      let place = key.withUnsafeBytes { Murmur2.partition($0, count: 4) }
      #expect(answer.partitions == [(place + 1) % 4])
    }
    #expect(try await stream.status().code == .ok)
    await connection.close()
    await test.remove()
  }

  @Test func withoutAnAnswerPublishingIsRefused() async throws {
    let (test, connection, _) = try await Self.setUp(
      .fails(Fault(.pluginFault, "it crashed", metadata: ["kind": "crash"])))
    let results = try await publish(
      connection, SwapTests.keyed(0..<2) + [Record(value: SharedBytes([1]), partition: 2)])
    #expect(results[2].error == nil && results[2].offset == 0)
    for result in results.prefix(2) {
      let refused = Fault(try #require(result.error))
      #expect(refused.reason == .partitionerUnavailable && refused.metadata["cause"] == "PLUGIN_FAULT")
      #expect(refused.message.contains("it crashed") && refused.retryAfterMilliseconds != nil)
    }
    let (stream, _) = try await StreamTests.open(connection)
    try await stream.send(
      PublishStreamRequest(
        assign: AssignRequest(
          requestID: 7, topic: "t", generation: 1, keyLengths: [2], keys: SharedBytes([1]))))
    let answer = try #require(try await stream.next()?.assigned.first)
    #expect(answer.error.map { Fault($0).reason } == .partitionerUnavailable && answer.requestID == 7)
    let page = try await MetricsPage.render(test.broker.context, budget: test.broker.budget)
    #expect(page.contains("skein_partitioner_rejected_records_total{tenant=\"default\",topic=\"t\""))
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }

  @Test func theFallbackPlacesInstead() async throws {
    let (test, connection, fakes) = try await Self.setUp(.outOfRange, fallback: "murmur2")
    let results = try await publish(connection, SwapTests.keyed(0..<20))
    let expected = (0..<20).map { number in
      Array("key-\(number)".utf8).withUnsafeBytes { Murmur2.partition($0, count: 4) }
    }
    #expect(results.map(\.partition) == expected && results.allSatisfy { $0.error == nil })
    fakes.set(Self.id, .shifted(1))
    #expect(
      try await publish(connection, SwapTests.keyed(0..<20)).map(\.partition) == expected.map { ($0 + 1) % 4 }
    )
    let placer = try #require(test.broker.context.partitioning.placers.first)
    #expect(placer.counts == PlacerCounts(calls: 2, records: 40, faults: 1, fallbackRecords: 20))
    await connection.close()
    await test.remove()
  }

  /// A plug-in that cannot be loaded any more does not stop the broker; it is tried again.
  @Test func aPlugInThatIsGoneIsTriedAgain() async throws {
    let (test, connection, fakes) = try await Self.setUp(.shifted(2))
    await connection.close()
    await test.stop()
    fakes.refuse(Self.id, Fault(.pluginQuarantined, "three strikes"))
    let again = try await TestBroker.start(folder: test.folder, identities: test.issuer) {
      $0.partitionerSource = fakes
    }
    let second = try await again.connect()
    let refused = try await publish(second, SwapTests.keyed(0..<1))
    #expect(refused.first?.error.map { Fault($0).metadata["cause"] } == "PLUGIN_QUARANTINED")
    fakes.refuse(Self.id, nil)
    await again.broker.context.partitioning.recover()
    #expect(try await publish(second, SwapTests.keyed(0..<1)).first?.error == nil)
    #expect(try await SwapTests.describe(second).topic?.generation == 1)
    await second.close()
    await again.remove()
  }

  @Test func timestampsAreSentWhereTheyAreAskedFor() async throws {
    let (test, connection, _) = try await Self.setUp(.timestamp)
    let records = (0..<4).map { Record(value: SharedBytes([1]), timestampMs: 1_700_000_000_000 + Int64($0)) }
    #expect(try await publish(connection, records).map(\.partition) == [0, 1, 2, 3])
    let (stream, _) = try await StreamTests.open(connection)
    for (times, reason) in [([], Reason.invalidRequest), ([7], nil)] as [([Int64], Reason?)] {
      try await stream.send(
        PublishStreamRequest(
          assign: AssignRequest(requestID: 1, topic: "t", generation: 1, keyLengths: [0], timestampsMs: times)
        ))
      let answer = try #require(try await stream.next()?.assigned.first)
      #expect(answer.error.map { Fault($0).reason } == reason)
    }
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }
}
