import Broker
import Foundation
import RecordFormat
import SkeinCore
import Testing
import Transport
import Wire

typealias PublishClient = StreamClient<PublishStreamRequest, PublishStreamResponse>
typealias ReadClient = StreamClient<ReadRequest, ReadResponse>

@Suite(.serialized) struct StreamTests {
  /// A batch of `count` records from sequence `sequence` on.
  static func batch(
    _ count: Int, producer: Int64 = -1, epoch: Int16 = -1, sequence: Int32 = -1, size: Int = 10,
    first: Int = 0
  ) throws -> SharedBytes {
    var builder = BatchBuilder(limits: BatchLimits())
    for index in 0..<count {
      let text = "r\(first + index)"
      let value = Array(text.utf8) + [UInt8](repeating: 46, count: max(0, size - text.utf8.count))
      try builder.append(
        key: nil, value: value, timestamp: Int64(Date().timeIntervalSince1970 * 1000))
    }
    return try builder.finish(
      producerID: producer, producerEpoch: epoch, baseSequence: sequence)
  }

  static func setUp(partitions: Int32 = 1, settings: [String: String] = [:]) async throws -> (
    TestBroker, GRPCConnection
  ) {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create,
      CreateTopicRequest(name: "t", partitions: partitions, settings: settings))
    return (test, connection)
  }

  static func open(_ connection: GRPCConnection) async throws -> (PublishClient, PublishOpened) {
    let stream = try await PublishClient.open(ProducerMethod.publishStream, on: connection)
    try await stream.send(PublishStreamRequest(open: PublishOpen()))
    let opened = try #require(try await stream.next()?.opened)
    return (stream, opened)
  }

  static func target(_ id: UInt64, partition: Int32 = 0, generation: UInt32 = 1) -> BatchTarget {
    BatchTarget(requestID: id, topic: "t", partition: partition, generation: generation)
  }

  /// Acks until `count` are there.
  static func acks(_ stream: PublishClient, _ count: Int) async throws -> [BatchAck] {
    var acks: [BatchAck] = []
    while acks.count < count {
      guard let response = try await stream.next() else { break }
      acks += response.acks
    }
    return acks
  }

  @Test func batchesAreAcknowledgedInOrderAndRetriesDeduplicated() async throws {
    let (test, connection) = try await Self.setUp()
    let (stream, opened) = try await Self.open(connection)
    #expect(opened.producerID > 0)
    #expect((opened.limits?.maxInFlightBatches ?? 0) == 32)
    let id = opened.producerID
    for number in 0..<10 {
      try await stream.send(
        PublishStreamRequest(
          target: Self.target(UInt64(number + 1)),
          batch: try Self.batch(3, producer: id, epoch: 0, sequence: Int32(number * 3), first: number * 3)))
    }
    let acks = try await Self.acks(stream, 10)
    #expect(acks.map(\.requestID) == Array(1...10))
    #expect(acks.map(\.baseOffset) == (0..<10).map { Int64($0 * 3) })
    #expect(acks.allSatisfy { $0.error == nil && !$0.duplicate })

    // P4: the same batch again, on another stream of the same producer, gets its original offset.
    let second = try await PublishClient.open(ProducerMethod.publishStream, on: connection)
    try await second.send(PublishStreamRequest(open: PublishOpen(producerID: id, producerEpoch: 0)))
    #expect(try await second.next()?.opened?.producerID == id)
    try await second.send(
      PublishStreamRequest(
        target: Self.target(1), batch: try Self.batch(3, producer: id, epoch: 0, sequence: 12, first: 12)))
    let duplicate = try #require(try await Self.acks(second, 1).first)
    #expect(duplicate.duplicate && duplicate.baseOffset == 12)

    // P5: a gap appends nothing; the stream lives.
    try await second.send(
      PublishStreamRequest(
        target: Self.target(2), batch: try Self.batch(1, producer: id, epoch: 0, sequence: 40)))
    let gap = try #require(try await Self.acks(second, 1).first)
    #expect(gap.error.map { Fault($0).reason } == .outOfOrderSequence)
    try await second.send(
      PublishStreamRequest(
        target: Self.target(3), batch: try Self.batch(1, producer: id, epoch: 0, sequence: 30)))
    #expect(try await Self.acks(second, 1).first?.baseOffset == 30)
    try await second.sendEnd()
    #expect(try await second.status().code == .ok)
    try await stream.sendEnd()
    #expect(try await stream.status().code == .ok)
    await connection.close()
    await test.remove()
  }

  @Test func badBatchesAreRefusedAndTheStreamLives() async throws {
    let (test, connection) = try await Self.setUp(settings: ["max.message.bytes": "4096"])
    let (stream, opened) = try await Self.open(connection)
    var corrupt = try Self.batch(2).array
    corrupt[corrupt.count - 1] ^= 1
    var control = try Self.batch(2).array
    control[22] |= 0x20
    let foreign = try Self.batch(1, producer: opened.producerID + 500, epoch: 0, sequence: 0)
    let cases: [(SharedBytes, BatchTarget, Reason)] = [
      (SharedBytes(corrupt), Self.target(1), .batchCorrupt),
      (SharedBytes(control), Self.target(2), .batchCorrupt),
      (SharedBytes(Array("no batch at all".utf8)), Self.target(3), .batchCorrupt),
      (try Self.batch(1, size: 8_000), Self.target(4), .batchTooLarge),
      (foreign, Self.target(5), .batchInvalid),
      (try Self.batch(1), Self.target(6, partition: 7), .partitionNotFound),
      (try Self.batch(1), BatchTarget(requestID: 7, topic: "nope"), .topicNotFound),
      (
        try Self.batch(1, producer: opened.producerID, epoch: 0, sequence: 5), Self.target(8),
        .unknownProducer
      ),
    ]
    for (batch, target, reason) in cases {
      try await stream.send(PublishStreamRequest(target: target, batch: batch))
      let ack = try #require(try await Self.acks(stream, 1).first)
      #expect(ack.requestID == target.requestID)
      let fault = ack.error.map { Fault($0) }
      #expect(fault?.reason == reason, "\(String(describing: fault))")
      #expect(fault?.reason.outcome == .definite)
    }
    try await stream.send(PublishStreamRequest(target: Self.target(9), batch: try Self.batch(1)))
    let fine = try #require(try await Self.acks(stream, 1).first)
    #expect(fine.error == nil && fine.baseOffset == 0)
    try await stream.cancel()
    await connection.close()
    await test.remove()
  }

  @Test func aStreamMustBeOpenedOnce() async throws {
    let (test, connection) = try await Self.setUp()
    let early = try await PublishClient.open(ProducerMethod.publishStream, on: connection)
    try await early.send(PublishStreamRequest(target: Self.target(1), batch: try Self.batch(1)))
    #expect(try await early.fault().reason == .streamNotOpen)
    let (twice, _) = try await Self.open(connection)
    try await twice.send(PublishStreamRequest(open: PublishOpen()))
    #expect(try await twice.fault().reason == .streamNotOpen)
    let forged = try await PublishClient.open(ProducerMethod.publishStream, on: connection)
    try await forged.send(PublishStreamRequest(open: PublishOpen(producerID: 1 << 40)))
    #expect(try await forged.fault().reason == .invalidRequest)
    await connection.close()
    await test.remove()
  }

  @Test func readingStaysWithinTheCredits() async throws {
    let (test, connection) = try await Self.setUp()
    let (producer, _) = try await Self.open(connection)
    for number in 0..<20 {
      try await producer.send(
        PublishStreamRequest(
          target: Self.target(UInt64(number + 1)), batch: try Self.batch(10, first: number * 10)))
    }
    #expect(try await Self.acks(producer, 20).count == 20)

    let reader = try await ReadClient.open(ConsumerMethod.read, on: connection)
    try await reader.send(
      ReadRequest(
        open: ReadOpen(partitions: [FetchPartition(topic: "t", partition: 0)], maxMessageBytes: 100)))
    #expect(try await reader.next()?.opened?.limits != nil)
    // One message of credit gives one batch, which may go below zero, and then nothing.
    try await reader.send(ReadRequest(credit: ReadCredit(messages: 1, bytes: 1 << 20)))
    let first = try #require(try await reader.next())
    #expect(first.read?.totalMessages == 10)
    #expect(first.read?.nextOffset == 10)
    try await reader.send(ReadRequest(credit: ReadCredit(messages: 1, bytes: 1 << 20)))  // a repeat
    try await reader.send(ReadRequest(credit: ReadCredit(messages: 11, bytes: 1 << 20)))
    let second = try #require(try await reader.next())
    #expect(second.read?.baseOffset == 10)
    #expect(second.read?.totalMessages == 20)
    try await reader.send(ReadRequest(credit: ReadCredit(messages: 1 << 40, bytes: 1 << 40)))
    var next = Int64(20)
    while next < 200 {
      let response = try #require(try await reader.next())
      #expect(response.read?.baseOffset == next)
      next = response.read?.nextOffset ?? -1
    }
    // The end of the log: what comes later is sent when it comes.
    try await producer.send(
      PublishStreamRequest(target: Self.target(21), batch: try Self.batch(1, first: 200)))
    let late = try #require(try await reader.next())
    #expect(late.read?.baseOffset == 200)
    try await reader.sendEnd()
    #expect(try await reader.status().code == .ok)
    await connection.close()
    await test.remove()
  }

  @Test func anErrorEndsItsPartitionOnly() async throws {
    let (test, connection) = try await Self.setUp(partitions: 2)
    let reader = try await ReadClient.open(ConsumerMethod.read, on: connection)
    try await reader.send(
      ReadRequest(
        open: ReadOpen(partitions: [
          FetchPartition(topic: "t", partition: 0, offset: 5),
          FetchPartition(topic: "t", partition: 1, offset: 0),
          FetchPartition(topic: "t", partition: 1, offset: 0),
          FetchPartition(topic: "gone", partition: 0, offset: 0),
        ]), credit: ReadCredit(messages: 1_000, bytes: 1 << 20)))
    #expect(try await reader.next()?.opened != nil)
    var reasons: Set<String> = []
    for _ in 0..<3 {
      let error = try #require(try await reader.next()?.error?.error)
      reasons.insert(Fault(error).reason.name)
    }
    #expect(reasons == ["OFFSET_OUT_OF_RANGE", "INVALID_REQUEST", "TOPIC_NOT_FOUND"])
    let (producer, _) = try await Self.open(connection)
    try await producer.send(
      PublishStreamRequest(target: Self.target(1, partition: 1), batch: try Self.batch(1)))
    #expect(try await reader.next()?.read?.partition == 1)
    await connection.close()
    await test.remove()
  }

  @Test func aDrainSaysGoodByeOnStreams() async throws {
    let (test, connection) = try await Self.setUp()
    let (producer, _) = try await Self.open(connection)
    let reader = try await ReadClient.open(ConsumerMethod.read, on: connection)
    try await reader.send(
      ReadRequest(
        open: ReadOpen(partitions: [FetchPartition(topic: "t", partition: 0)]),
        credit: ReadCredit(messages: 100, bytes: 1 << 20)))
    #expect(try await reader.next()?.opened != nil)
    async let stopped: Void = test.stop()
    let goAway = try #require(try await reader.next()?.goAway)
    #expect(goAway.resume && goAway.reason == "draining")
    #expect(try await reader.status().code == .ok)
    #expect(try await producer.next()?.goAway != nil)
    #expect(try await producer.status().code == .ok)
    await stopped
    await connection.close()
  }

  @Test func memoryTopicsAcknowledgeAtOnce() async throws {
    let (test, connection) = try await Self.setUp(
      settings: ["durability": "memory", "min.acks": "none"])
    let (producer, _) = try await Self.open(connection)
    let reader = try await ReadClient.open(ConsumerMethod.read, on: connection)
    try await reader.send(
      ReadRequest(
        open: ReadOpen(partitions: [FetchPartition(topic: "t", partition: 0)]),
        credit: ReadCredit(messages: 100, bytes: 1 << 20)))
    #expect(try await reader.next()?.opened != nil)
    try await producer.send(PublishStreamRequest(target: Self.target(1), batch: try Self.batch(5)))
    #expect(try await Self.acks(producer, 1).first?.baseOffset == 0)
    #expect(try await reader.next()?.read?.nextOffset == 5)
    await connection.close()
    await test.remove()
  }

  @Test func weakAcksNeedTheTopicsLeave() async throws {
    let (test, connection) = try await Self.setUp()
    let stream = try await PublishClient.open(ProducerMethod.publishStream, on: connection)
    try await stream.send(PublishStreamRequest(open: PublishOpen(acks: .none)))
    _ = try await stream.next()
    try await stream.send(PublishStreamRequest(target: Self.target(1), batch: try Self.batch(1)))
    let ack = try #require(try await Self.acks(stream, 1).first)
    #expect(ack.error.map { Fault($0).reason } == .acksTooWeak)
    let older = PublishStreamRequest(
      target: Self.target(2, generation: 9), batch: try Self.batch(1))
    try await stream.send(older)
    let (strong, _) = try await Self.open(connection)
    try await strong.send(older)
    let ahead = try #require(try await Self.acks(strong, 1).first?.error)
    #expect(Fault(ahead).reason.retriable && Fault(ahead).reason.outcome == .definite)
    await connection.close()
    await test.remove()
  }
}
