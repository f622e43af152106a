import SkeinClient
import SkeinTestKit
import Testing

@Suite(.timeLimit(.minutes(1))) struct ReadingSnippets {
  @Test func reading() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("orders", partitions: 2)
      try await client.withProducer { producer in
        for order in orders {
          _ = try await producer.send(to: "orders", key: Array(order.id.utf8), value: order.bytes)
        }
      }
      var count = 0
      // snippet batches
      var configuration = ReaderConfiguration()
      configuration.stopsAtEnd = true
      let reader = try await client.reader(topic: "orders", from: .beginning, configuration)
      for try await batch in reader {
        try batch.forEachRecord { record in  // in place: nothing is copied, pointers are valid in here
          count += record.value?.count ?? 0
        }
      }
      // end
      #expect(count > 0)

      // snippet positions
      let positions = reader.positions  // keep them with what you made of the records
      await reader.close()
      let later = try await client.reader(topic: "orders", from: .positions(positions))
      // end

      // snippet steer
      try later.pause([1])  // nothing more of partition 1 …
      try await later.seek(to: .timestamp(1_700_000_000_000), partitions: [0])
      try later.resume([1])  // … until now, where it stopped
      // end
      let batch = try await later.nextBatch()
      #expect(batch?.partition == 0)
      await later.close()
    }
  }

  @Test func following() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("orders", partitions: 1)
      // snippet watch
      var partitions: [String: Int32] = [:]
      for try await change in client.admin.watch() {
        if change.isReset { partitions = [:] }
        for topic in change.topics { partitions[topic.name] = topic.partitionCount }
        for topic in change.deleted { partitions[topic.name] = nil }
        if change.isSynced { break }  // everything that was there; go on iterating to follow changes
      }
      // end
      #expect(partitions == ["orders": 1])
    }
  }

  // snippet test
  @Test func anOrderIsPublishedOnce() async throws {
    try await TestBroker.run { broker, client in
      try await client.admin.createTopic("orders", partitions: 4)
      let producer = try await client.producer()
      async let place = producer.send(to: "orders", value: Array("six plums".utf8))
      await broker.kill()  // as SIGKILL would
      try await broker.restart()
      _ = try await place  // the producer bore it
      try await producer.close()
      let ends = try await client.admin.listOffsets("orders", at: .end)
      #expect(ends.map(\.offset).reduce(0, +) == 1)
    }
  }
  // end
}
