import Broker
import SkeinCore
import Testing
import Transport
import Wire

/// Settings of a live topic: what is refused and why, and that a change counts without a restart.
@Suite(.serialized) struct TopicUpdateTests {
  @discardableResult
  private func update(
    _ connection: GRPCConnection, set: [String: String] = [:], reset: [String] = [], revision: Int64 = 0,
    validateOnly: Bool = false
  ) async throws -> UpdateTopicResponse {
    try await connection.call(
      TopicsMethod.update,
      UpdateTopicRequest(
        name: "t", set: set, reset: reset, expectedRevision: revision, validateOnly: validateOnly))
  }

  private func describe(_ connection: GRPCConnection) async throws -> DescribeTopicResponse {
    try await connection.call(TopicsMethod.describe, DescribeTopicRequest(name: "t"))
  }

  @Test func settingsAreSetResetAndCompared() async throws {
    let (test, connection) = try await StreamTests.setUp(settings: ["retention.ms": "60000"])
    let before = try #require(try await describe(connection).topic)
    #expect(before.revision > 0 && before.createdMs > 0 && before.compression == "producer")

    let changed = try await update(
      connection, set: ["segment.bytes": "65536", "min.acks": "none"], reset: ["retention.ms"],
      revision: before.revision)
    #expect(changed.settings.map(\.name) == ["retention.ms", "segment.bytes", "min.acks"])
    #expect(changed.settings.map(\.value) == ["604800000", "65536", "none"])
    #expect(changed.settings.map(\.source) == ["default", "topic", "topic"])
    let after = try #require(changed.topic)
    #expect(after.revision > before.revision && after.generation == 1)

    // A reader of the old revision has been overtaken; nothing changes.
    let late = await fault {
      try await update(connection, set: ["min.acks": "all"], revision: before.revision)
    }
    #expect(late?.reason == .conflict && late?.metadata["revision"] == "\(after.revision)")
    #expect(late?.resource?.name == "t")

    // The same again changes nothing, and so does a trial.
    let same = try await update(connection, set: ["min.acks": "none"])
    #expect(same.settings.isEmpty && same.topic?.revision == after.revision)
    let trial = try await update(connection, set: ["min.acks": "all"], validateOnly: true)
    #expect(trial.settings.map(\.value) == ["all"])
    let described = try await describe(connection)
    #expect(described.topic == after)
    #expect(described.settings.first { $0.name == "min.acks" }?.value == "none")
    #expect(
      described.settings.allSatisfy { !$0.allowed.isEmpty && !$0.effect.isEmpty && !$0.meaning.isEmpty })

    await connection.close()
    await test.stop()
    let again = try await TestBroker.start(folder: test.folder, identities: test.issuer)
    let second = try await again.connect()
    let kept = try await describe(second)
    #expect(kept.topic == after && kept.settings == described.settings)
    await second.close()
    await again.remove()
  }

  @Test func everyProblemComesAtOnceAndNothingChanges() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let before = try await describe(connection)
    let refused = await fault {
      try await update(
        connection, set: ["retention.ms": "soon", "partitions": "9", "color": "red", "min.acks": "all"],
        reset: ["min.acks", "partitioner", "durability"], revision: -1)
    }
    #expect(refused?.reason == .invalidRequest)
    let found = Dictionary(
      uniqueKeysWithValues: (refused?.violations ?? []).map { ($0.field, $0.description) })
    #expect(
      Set(found.keys) == [
        "set[retention.ms]", "set[partitions]", "set[color]", "reset[0]", "reset[1]", "expected_revision",
      ])
    #expect(found["set[partitions]"]?.contains("AddPartitions") == true)
    #expect(found["set[retention.ms]"]?.contains("allowed: -1") == true)
    #expect(found["reset[1]"]?.contains("another partitioner moves keys") == true)
    #expect(await fault { try await update(connection) }?.reason == .invalidRequest)
    let many = Dictionary(uniqueKeysWithValues: (0..<70).map { ("s\($0)", "1") })
    #expect(await fault { try await update(connection, set: many) }?.violations.first?.field == "set")
    let after = try await describe(connection)
    #expect(after.topic == before.topic && after.settings == before.settings)
    await connection.close()
    await test.remove()
  }

  /// Limits of a topic bind the open streams of its producers from the next batch on.
  @Test func limitsBindOpenStreams() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let (stream, _) = try await StreamTests.open(connection)
    let batch = try StreamTests.batch(1, size: 8_000)
    func publish(_ id: UInt64) async throws -> BatchAck? {
      try await stream.send(
        PublishStreamRequest(target: StreamTests.target(id), batch: SharedBytes(batch.array)))
      return try await StreamTests.acks(stream, 1).first
    }
    #expect(try await publish(1)?.baseOffset == 0)
    try await update(connection, set: ["max.message.bytes": "4096"])
    let refused = try #require(try await publish(2)?.error)
    #expect(Fault(refused).reason == .batchTooLarge)
    try await update(connection, reset: ["max.message.bytes"])
    #expect(try await publish(3)?.baseOffset == 1)

    let weak = PublishRequest(
      topic: "t", records: [Record(value: SharedBytes([1]))], acks: Acks.none)
    #expect(
      await fault { let _: PublishResponse = try await connection.call(ProducerMethod.publish, weak) }?.reason
        == .acksTooWeak)
    try await update(connection, set: ["min.acks": "none"])
    let taken: PublishResponse = try await connection.call(ProducerMethod.publish, weak)
    #expect(taken.results.first?.error == nil)
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }

  /// What was acknowledged under `memory` is durable when the change back to `sync` is answered.
  @Test func durabilityChangesLeaveNothingInBetween() async throws {
    let (test, connection) = try await StreamTests.setUp(settings: ["durability": "memory"])
    for round in 0..<5 {
      let records = (0..<200).map { _ in Record(value: SharedBytes([UInt8](repeating: 7, count: 500))) }
      let published: PublishResponse = try await connection.call(
        ProducerMethod.publish, PublishRequest(topic: "t", records: records))
      #expect(published.results.allSatisfy { $0.error == nil })
      try await update(connection, set: ["durability": round % 2 == 0 ? "sync" : "memory"])
      let state = try #require(try await describe(connection).partitions.first)
      #expect(state.durableEndOffset == Int64(200 * (round + 1)))
      #expect(state.highWatermark == state.logEndOffset && state.logEndOffset == state.durableEndOffset)
    }
    await connection.close()
    await test.remove()
  }

  /// Retention and segment size act on what is stored, without a restart. Upkeep comes again and again:
  /// the records are written after its first round.
  @Test func retentionActsOnALiveTopic() async throws {
    let test = try await TestBroker.start { $0.maintenanceMilliseconds = 100 }
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 1))
    try await Task.sleep(for: .milliseconds(250))
    try await update(connection, set: ["segment.bytes": "1000000", "retention.bytes": "2000000"])
    let megabyte = SharedBytes([UInt8](repeating: 1, count: 900_000))
    for _ in 0..<11 {
      let published: PublishResponse = try await connection.call(
        ProducerMethod.publish, PublishRequest(topic: "t", records: [Record(value: megabyte)]))
      #expect(published.results.first?.error == nil)
    }
    // Written behind at 8 MiB, then upkeep takes the oldest segments.
    var state = PartitionDescription()
    for _ in 0..<200 {
      state = try #require(try await describe(connection).partitions.first)
      if state.logStartOffset > 0 { break }
      try await Task.sleep(for: .milliseconds(50))
    }
    #expect(state.logStartOffset > 0 && state.segments > 1 && state.logEndOffset == 11, "\(state)")
    await connection.close()
    await test.remove()
  }

  /// Changes without a revision that come at once are carried out one after the other: none is lost.
  @Test func concurrentChangesDoNotLoseEachOther() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let changes = [
      "retention.ms": "70000", "retention.bytes": "70000", "segment.bytes": "70000", "segment.ms": "70000",
      "max.message.bytes": "70000", "durability": "memory", "min.acks": "none", "compression.type": "zstd",
    ]
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (name, value) in changes {
        group.addTask { try await update(connection, set: [name: value]) }
      }
      try await group.waitForAll()
    }
    let described = try await describe(connection)
    for (name, value) in changes {
      #expect(described.settings.first { $0.name == name }?.value == value, "\(name)")
    }
    #expect(described.topic?.compression == "zstd")
    await connection.close()
    await test.remove()
  }

  @Test func describeTellsTrafficAndState() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let quiet = try #require(try await describe(connection).partitions.first)
    #expect(quiet.state == .online && quiet.traffic == Traffic() && quiet.lastAppendMs == 0)
    let records = (0..<30).map { _ in Record(value: SharedBytes([UInt8](repeating: 7, count: 100))) }
    let _: PublishResponse = try await connection.call(
      ProducerMethod.publish, PublishRequest(topic: "t", records: records))
    let fetched: FetchResponse = try await connection.call(
      ConsumerMethod.fetch, FetchRequest(partitions: [FetchPartition(topic: "t", partition: 0)]))
    let bytes = Int64(fetched.partitions.first?.batches.count ?? 0)
    let busy = try #require(try await describe(connection).partitions.first)
    let traffic = try #require(busy.traffic)
    #expect(traffic.recordsIn == 30 && traffic.recordsOut == 30 && bytes > 3_000)
    #expect(traffic.bytesIn == bytes && traffic.bytesOut == bytes)
    #expect((1...65_000).contains(traffic.windowMs))
    #expect(busy.lastAppendMs > 0 && busy.sizeBytes > bytes && busy.segments == 0 && busy.error == nil)
    let summary: DescribeTopicResponse = try await connection.call(
      TopicsMethod.describe, DescribeTopicRequest(name: "t", summaryOnly: true))
    #expect(summary.topic?.name == "t" && summary.partitions.isEmpty && summary.settings.isEmpty)
    await connection.close()
    await test.remove()
  }
}
