import Broker
import SkeinCore
import Testing
import Transport
import Wire

/// A topic that grows: the partitioner's generation, and what becomes of batches made under the old one.
@Suite(.serialized) struct AddPartitionsTests {
  private func grow(
    _ connection: GRPCConnection, to partitions: Int32, revision: Int64 = 0, validateOnly: Bool = false
  ) async throws -> AddPartitionsResponse {
    try await connection.call(
      TopicsMethod.addPartitions,
      AddPartitionsRequest(
        name: "t", partitions: partitions, expectedRevision: revision, validateOnly: validateOnly))
  }

  @Test func oldGenerationsAreRefusedAfterTheDuplicateWindow() async throws {
    let (test, connection) = try await StreamTests.setUp()
    let (stream, opened) = try await StreamTests.open(connection)
    let id = opened.producerID
    func publish(
      _ request: UInt64, sequence: Int32, generation: UInt32, partition: Int32 = 0, producer: Int64? = nil
    ) async throws -> BatchAck {
      let batch = try StreamTests.batch(
        2, producer: producer ?? id, epoch: producer == -1 ? -1 : 0, sequence: sequence)
      try await stream.send(
        PublishStreamRequest(
          target: StreamTests.target(request, partition: partition, generation: generation), batch: batch))
      return try #require(try await StreamTests.acks(stream, 1).first)
    }
    #expect(try await publish(1, sequence: 0, generation: 1).baseOffset == 0)

    let grown = try #require(try await grow(connection, to: 3).topic)
    #expect(grown.partitions == 3 && grown.generation == 2)

    // P4 before the generation: the retry of what was appended gets its offset.
    let retry = try await publish(2, sequence: 0, generation: 1)
    #expect(retry.duplicate && retry.baseOffset == 0 && retry.error == nil)
    // New under the old generation: definite, and no sequence is consumed.
    let old = try #require(try await publish(3, sequence: 2, generation: 1).error)
    #expect(Fault(old).reason == .partitionerChanged && Fault(old).metadata["generation"] == "2")
    #expect(try await publish(4, sequence: 2, generation: 2).baseOffset == 2)
    // A generation that the broker does not know yet: come back.
    let ahead = try #require(try await publish(5, sequence: 4, generation: 3).error)
    #expect(Fault(ahead).reason == .overloaded && Fault(ahead).retryAfterMilliseconds != nil)
    // An explicit partition is nobody's generation; the new partitions are there.
    #expect(try await publish(6, sequence: -1, generation: 0, producer: -1).baseOffset == 4)
    #expect(try await publish(7, sequence: 0, generation: 2, partition: 2).baseOffset == 0)

    let fetched: FetchResponse = try await connection.call(
      ConsumerMethod.fetch,
      FetchRequest(partitions: [FetchPartition(topic: "t", partition: 0)], decoded: true))
    #expect(fetched.partitions.first?.records.count == 6)
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }

  @Test func thereIsNoWayDownAndALimitUp() async throws {
    let test = try await TestBroker.start { $0.maximumPartitions = 6 }
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 3))
    for wrong in [Int32(-1), 0, 2, 3, 10_001] {
      let refused = await fault { _ = try await grow(connection, to: wrong) }
      #expect(
        refused?.reason == .invalidRequest && refused?.violations.first?.field == "partitions", "\(wrong)")
    }
    let many = await fault { _ = try await grow(connection, to: 7) }
    #expect(many?.reason == .topicLimit && many?.metadata["limit"] == "6")
    #expect(try await grow(connection, to: 5, validateOnly: true).topic?.generation == 2)
    let late = await fault { _ = try await grow(connection, to: 5, revision: 1 << 40) }
    #expect(late?.reason == .conflict)
    let grown = try #require(try await grow(connection, to: 6).topic)
    let next = await fault {
      let _: CreateTopicResponse = try await connection.call(
        TopicsMethod.create, CreateTopicRequest(name: "one-more", partitions: 1))
    }
    #expect(next?.reason == .topicLimit)
    // Deleting gives all of them back.
    await connection.close()
    await test.stop()
    let again = try await TestBroker.start(folder: test.folder, identities: test.issuer) {
      $0.maximumPartitions = 6
    }
    let second = try await again.connect()
    let described: DescribeTopicResponse = try await second.call(
      TopicsMethod.describe, DescribeTopicRequest(name: "t"))
    #expect(described.topic == grown && described.partitions.count == 6)
    let _: DeleteTopicResponse = try await second.call(TopicsMethod.delete, DeleteTopicRequest(name: "t"))
    let _: CreateTopicResponse = try await second.call(
      TopicsMethod.create, CreateTopicRequest(name: "other", partitions: 6))
    await second.close()
    await again.remove()
  }

  @Test func recordsAreDeletedThroughTheAPI() async throws {
    let (test, connection) = try await StreamTests.setUp(partitions: 2)
    let records = (0..<10).map { _ in Record(value: SharedBytes([1]), partition: 0) }
    let _: PublishResponse = try await connection.call(
      ProducerMethod.publish, PublishRequest(topic: "t", records: records))
    func delete(_ starts: [(Int32, Int64)]) async throws -> [PartitionOffsetResult] {
      let response: DeleteRecordsResponse = try await connection.call(
        TopicsMethod.deleteRecords,
        DeleteRecordsRequest(
          topic: "t", partitions: starts.map { DeleteRecordsPartition(partition: $0.0, beforeOffset: $0.1) }))
      return response.partitions
    }
    #expect(try await delete([(0, 4)]).map(\.offset) == [4])
    // Not back, and not beyond the end; each partition for itself.
    let mixed = try await delete([(0, 2), (1, 5)])
    #expect(mixed[0].offset == 4 && mixed[0].error == nil)
    let beyond = try #require(mixed[1].error)
    #expect(Fault(beyond).reason == .offsetOutOfRange && Fault(beyond).resource?.name == "t/1")
    let fetched: FetchResponse = try await connection.call(
      ConsumerMethod.fetch,
      FetchRequest(
        partitions: [
          FetchPartition(topic: "t", partition: 0, offset: 3),
          FetchPartition(topic: "t", partition: 0, offset: 4),
        ], decoded: true))
    #expect(fetched.partitions[0].error.map { Fault($0).reason } == .offsetOutOfRange)
    #expect(fetched.partitions[1].records.first { $0.offset >= 4 }?.offset == 4)
    #expect(try await delete([(0, -1)]).map(\.offset) == [10])
    let twice = await fault { _ = try await delete([(0, -7), (0, 3)]) }
    #expect(twice?.violations.map(\.field) == ["partitions[0].before_offset", "partitions[1].partition"])
    await connection.close()
    await test.remove()
  }
}
