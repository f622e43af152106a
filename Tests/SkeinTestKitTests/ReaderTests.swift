import SkeinClient
import SkeinTestKit
import Testing

/// Pausing, resuming and seeking while a reader runs, against a real broker.
@Suite(.timeLimit(.minutes(1))) struct ReaderTests {
  /// Publishes 0 ..< count to each of `partitions`, a batch per record.
  private func fill(_ client: Client, _ topic: String, partitions: Int32, count: Int) async throws {
    try await client.admin.createTopic(topic, partitions: partitions)
    var configuration = ProducerConfiguration()
    configuration.batchBytes = 1
    try await client.withProducer(configuration) { producer in
      let topic = try await producer.topic(topic)
      for n in 0..<count {
        for partition in 0..<partitions {
          try await topic.append(value: Array("\(n)".utf8), timestamp: Int64(1_000 + n), partition: partition)
        }
      }
    }
  }

  @Test func aPausedPartitionGoesOnWhereTheConsumerWas() async throws {
    try await TestBroker.run { _, client in
      try await fill(client, "t", partitions: 2, count: 200)
      let reader = try await client.reader(topic: "t")
      var next: [Int32: Int64] = [0: 0, 1: 0]
      func take() async throws -> Int32 {
        let batch = try #require(try await reader.nextBatch())
        #expect(batch.baseOffset == next[batch.partition], "partition \(batch.partition) lost or repeated")
        next[batch.partition] = batch.nextOffset
        return batch.partition
      }
      while next[0] == 0 || next[1] == 0 { _ = try await take() }
      try reader.pause([0])
      let held = next[0]
      #expect(reader.positions[0]?.offset == held)
      // Everything of the other partition comes, and nothing of this one.
      while next[1] ?? 0 < 200 { #expect(try await take() == 1) }
      try reader.resume([0])
      while next[0] ?? 0 < 200 { #expect(try await take() == 0) }
      #expect(
        reader.positions == [0: .init(offset: 200, leaderEpoch: 1), 1: .init(offset: 200, leaderEpoch: 1)])
      await reader.close()
    }
  }

  @Test func everythingPausedComesAgainAfterResume() async throws {
    try await TestBroker.run { _, client in
      try await fill(client, "t", partitions: 1, count: 50)
      let reader = try await client.reader(topic: "t")
      try reader.pause()
      try reader.pause()
      try reader.resume()
      for n in 0..<50 {
        #expect(try await reader.nextBatch()?.baseOffset == Int64(n))
        if n == 20 {
          try reader.pause()
          try reader.resume()
        }
      }
      await reader.close()
    }
  }

  @Test func seeksWhileItRunsAndAfterItsEnd() async throws {
    try await TestBroker.run { _, client in
      try await fill(client, "t", partitions: 1, count: 100)
      var configuration = ReaderConfiguration()
      configuration.stopsAtEnd = true
      let reader = try await client.reader(topic: "t", from: .timestamp(1_090), configuration)
      #expect(try await reader.nextBatch()?.baseOffset == 90)
      try reader.seek([0: ReadPosition(offset: 40)])
      #expect(try await reader.nextBatch()?.baseOffset == 40)
      try await reader.seek(to: .offset(98))
      #expect(try await reader.nextBatch()?.baseOffset == 98)
      #expect(try await reader.nextBatch()?.baseOffset == 99)
      #expect(try await reader.nextBatch() == nil)
      try await reader.seek(to: .timestamp(1_097))
      #expect(try await reader.nextBatch()?.baseOffset == 97)
      try await reader.seek(to: .end)
      #expect(try await reader.nextBatch() == nil)
      try await reader.seek(to: .beginning, partitions: [0])
      #expect(try await reader.nextBatch()?.baseOffset == 0)
      #expect(throws: SkeinError.self) { try reader.seek([7: ReadPosition(offset: 0)]) }
      await reader.close()
    }
  }

  @Test func anOffsetOutsideTheLogIsSaidAndASeekRepairsIt() async throws {
    try await TestBroker.run { _, client in
      try await fill(client, "t", partitions: 1, count: 5)
      let reader = try await client.reader(topic: "t", from: .offset(900))
      do {
        _ = try await reader.nextBatch()
        Issue.record("nothing was thrown")
      } catch let error as SkeinError { #expect(error.reason == "OFFSET_OUT_OF_RANGE") }
      try reader.seek([0: ReadPosition(offset: 3)])
      #expect(try await reader.nextBatch()?.baseOffset == 3)
      await reader.close()
    }
  }

  /// A position with an epoch that ends earlier: the log was cut below what was read.
  @Test func positionsAreCheckedByEpoch() async throws {
    try await TestBroker.run { broker, client in
      try await fill(client, "t", partitions: 1, count: 5)
      try await broker.restart()
      try await client.withProducer { _ = try await $0.send(to: "t", value: [1]) }
      let fine = try await client.reader(topic: "t", from: .positions([0: .init(offset: 5, leaderEpoch: 1)]))
      #expect(try await fine.nextBatch()?.baseOffset == 5)
      await fine.close()
      let cut = try await client.reader(topic: "t", from: .positions([0: .init(offset: 6, leaderEpoch: 1)]))
      do {
        _ = try await cut.nextBatch()
        Issue.record("nothing was thrown")
      } catch let error as SkeinError { #expect(error.reason == "LOG_TRUNCATED") }
      await cut.close()
    }
  }

  @Test func partitionsThatAreAddedAreReadFromTheirBeginnings() async throws {
    try await TestBroker.run { _, client in
      try await fill(client, "t", partitions: 1, count: 20)
      var configuration = ReaderConfiguration()
      configuration.partitionRefresh = .milliseconds(20)
      let reader = try await client.reader(topic: "t", configuration)
      for n in 0..<10 { #expect(try await reader.nextBatch()?.baseOffset == Int64(n)) }
      try await client.admin.addPartitions("t", upTo: 3)
      try await client.withProducer { producer in
        let topic = try await producer.topic("t")
        for n in 0..<10 { try await topic.append(value: [UInt8(n)], partition: Int32(n % 2) + 1) }
      }
      var next: [Int32: Int64] = [0: 10, 1: 0, 2: 0]
      while next != [0: 20, 1: 5, 2: 5] {
        let batch = try #require(try await reader.nextBatch())
        #expect(batch.baseOffset == next[batch.partition], "partition \(batch.partition)")
        next[batch.partition] = batch.nextOffset
      }
      await reader.close()
    }
  }

  @Test func aClosedClientEndsWhoWaits() async throws {
    try await TestBroker.run { broker, client in
      try await client.admin.createTopic("t", partitions: 1)
      let other = try broker.client()
      let reader = try await other.reader(topic: "t")
      let waiting = Task { try await reader.nextBatch() }
      await other.close()
      do { #expect(try await waiting.value == nil) } catch let error as SkeinError {
        #expect(error.reason == "CANCELLED")
      }
    }
  }
}
