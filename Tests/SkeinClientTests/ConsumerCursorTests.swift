import RecordFormat
import SkeinCore
import Testing
import Wire

@testable import SkeinClient

/// A loop's way through what it takes, where the broker's side is played: batches that cannot be read, records that the
/// application acknowledges, ends.
@Suite struct ConsumerCursorTests {
  /// A member that has partition 0 of `t`.
  private func consumer(
    _ change: (inout ConsumerConfiguration) -> Void = { _ in }
  ) throws -> Consumer {
    var configuration = ConsumerConfiguration()
    change(&configuration)
    var options = ConsumerMachine.Options(group: "g")
    options.acknowledges = configuration.acknowledges
    let core = ConsumerCore(
      machine: ConsumerMachine(options: options, topics: ["t"], patterns: [], random: SeededRandom(1)),
      configuration: configuration, metrics: GroupMetrics(group: "g"))
    core.apply { machine, now in
      machine.opened(now: now)
      _ = machine.heard(now: now)
      machine.joined(
        SubscribeJoined(memberID: machine.memberID, heartbeatMs: 5_000, sessionMs: 45_000), now: now)
      machine.assigned(
        SubscribeAssignment(
          epoch: 1, joinEpoch: 1, partitions: [TopicPartitions(topic: "t", partitions: [0], topicID: "1")]),
        now: now)
    }
    // Nobody answers there, and nobody is asked.
    let client = try Client(ClientConfiguration(address: "127.0.0.1:1", tls: TLSIdentity(ca: .bytes([]))))
    return Consumer(group: "g", core: core, admin: client.admin, configuration)
  }

  /// Batches of five records from offset 0 on, in one message.
  private func send(_ count: Int, to consumer: Consumer, spoil: (Int, inout [UInt8]) -> Void = { _, _ in })
    throws
  {
    var message: [UInt8] = []
    for number in 0..<count {
      var builder = BatchBuilder()
      for record in 0..<5 { try builder.append(key: nil, value: [UInt8(record)], timestamp: 1) }
      var batch = try builder.finish().array
      // The base offset is not covered by the CRC.
      batch[7] = UInt8(number * 5)
      spoil(number, &batch)
      message += batch
    }
    let total = UInt64(count * 5)
    try consumer.core.update { [message] (machine, now) throws(SkeinError) in
      try machine.arrived(
        ReadBatches(
          topic: "t", partition: 0, baseOffset: 0, nextOffset: Int64(total), highWatermark: Int64(total),
          leaderEpoch: 1, totalMessages: total, totalBytes: UInt64(message.count)),
        bytes: SharedBytes(message), now: now)
    }
  }

  private let place = ConsumedPartition("t", 0)

  @Test func aBatchThatCannotBeReadIsToldOnceAndTheNextLoopGoesOnBehindIt() async throws {
    let consumer = try consumer()
    try send(3, to: consumer) { if $0 == 1 { $1[$1.count - 1] ^= 1 } }
    var offsets: [Int64] = []
    await #expect {
      for try await record in consumer { offsets.append(record.offset) }
    } throws: {
      ($0 as? SkeinError)?.reason == "BATCH_UNDECODABLE"
    }
    #expect(offsets == Array(0..<5))
    #expect(consumer.processed[place]?.offset == 5, "who stops here has not processed what could not be read")
    for try await record in consumer {
      offsets.append(record.offset)
      if record.offset == 14 { break }
    }
    #expect(offsets == Array(0..<5) + Array(10..<15))
    #expect(consumer.processed[place]?.offset == 14)
  }

  @Test func aLengthThatLiesCostsTheRestOfItsMessageSaidAloud() async throws {
    let consumer = try consumer()
    try send(3, to: consumer) { if $0 == 1 { $1[8] = 0xff } }
    var batches: [Int64] = []
    await #expect {
      for try await batch in consumer.batches { batches.append(batch.baseOffset) }
    } throws: {
      ($0 as? SkeinError)?.metadata["next_offset"] == "15"
    }
    #expect(batches == [0] && consumer.processed[place]?.offset == 5)
    #expect(consumer.positions[place]?.offset == 15)
  }

  @Test func recordsAreAcknowledgedInAnyOrder() async throws {
    let consumer = try consumer { $0.acknowledges = true }
    try send(2, to: consumer)
    var held: [ConsumedRecord] = []
    for try await record in consumer {
      held.append(record)
      if held.count == 8 { break }
    }
    // Leaving the loop gives back only what was not delivered.
    #expect(consumer.processed[place] == nil && consumer.positions[place]?.offset == 8)
    for at in [1, 2, 4, 0] { #expect(consumer.acknowledge(held[at])) }
    #expect(consumer.processed[place]?.offset == 3, "3 is missing")
    consumer.acknowledge(held[3])
    consumer.acknowledge(held[3])
    #expect(consumer.processed[place]?.offset == 5)
    for try await batch in consumer.batches {
      #expect(batch.nextOffset == 10)
      #expect(consumer.acknowledge(batch))
      break
    }
    #expect(consumer.processed[place]?.offset == 5, "5 to 7 are missing")
    for record in held[5...] { consumer.acknowledge(record) }
    #expect(consumer.processed[place]?.offset == 10)
    var elsewhere = held[0]
    elsewhere.partition = 7
    #expect(!consumer.acknowledge(elsewhere))
  }

  @Test func whatIsNotAcknowledgedHoldsUpItsPartition() throws {
    let h = ConsumerHarness {
      $0.acknowledges = true
      $0.maxPending = 4
    }
    h.join([0])
    try h.records(0..<4)
    try h.records(4..<8)
    let (lease, _, _) = try #require(h.chunk())
    for offset in 0..<4 { #expect(h.step(lease, taking: Int64(offset) + 1)) }
    h.machine.finish(lease, upTo: ReadPosition(offset: 4), now: h.now)
    #expect(h.chunk() == nil)
    // Not a deadline's business as long as something is acknowledged.
    h.pass(milliseconds: 5_000)
    #expect(h.take().compactMap(\.heartbeat).last?.progress == .advanced)
    h.pass(milliseconds: 5_000)
    #expect(h.take().compactMap(\.heartbeat).last?.progress == .working)
    #expect(h.acknowledge(3))
    #expect(h.chunk() == nil, "3 waits for the others")
    for offset in 0..<3 { #expect(h.acknowledge(Int64(offset))) }
    #expect(h.chunk()?.offsets == 4..<8)
    h.pass(milliseconds: 1_000)
    #expect(h.commits().last?.offsetList == [4])
  }

  /// The group takes it away; what still hangs about must not end the loop.
  @Test func aPartitionWhoseTopicIsDeletedFailsInSilence() throws {
    let h = ConsumerHarness()
    h.join([0, 1])
    try h.records(0..<2)
    #expect(h.process()?.offsets == 0..<2)
    h.machine.failed(h.p(0), SkeinError(.topicNotFound, "deleted"), now: h.now)
    guard case .nothing = h.next() else { return #expect(Bool(false), "the loop is told") }
    h.pass(milliseconds: 1_000)
    #expect(
      h.take().compactMap(\.seek).map(\.offset) == [2], "if it is not taken away, it is asked for again")
    h.assign([1], epoch: 2)
    h.pass(milliseconds: 5_000)
    #expect(h.take().allSatisfy { $0.seek == nil })
  }

  @Test func everyLoopHearsWhyItIsOver() async throws {
    let consumer = try consumer()
    consumer.core.fail(SkeinError(.permissionDenied, "no"))
    for _ in 0..<2 {
      await #expect(throws: SkeinError.self) { for try await _ in consumer {} }
    }
    let other = try self.consumer()
    other.core.apply { $0.end(now: $1) }
    for try await _ in other { Issue.record("a record") }
  }
}
