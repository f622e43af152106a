import SkeinClient
import SkeinTestKit
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct ConsumingSnippets {
  /// A broker with 40 records in four partitions.
  private func withOrders(_ body: (Client) async throws -> Void) async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("orders", partitions: 4)
      try await client.withProducer { producer in
        for (n, order) in (orders + orders).enumerated() {
          _ = try await producer.send(
            to: "orders", key: Array(order.id.utf8), value: order.bytes, partition: Int32(n % 4))
        }
      }
      try await body(client)
    }
  }

  @Test func consuming() async throws {
    try await withOrders { client in
      var count = 0
      func handle(_ record: ConsumedRecord) async throws { count += 1 }
      // snippet consume
      let consumer = try await client.consumer(group: "billing", topics: ["orders"])
      for try await record in consumer {
        try await handle(record)  // processed when the loop asks for the next one
        if count == 40 { break }
      }
      await consumer.close()  // commits what is processed, and leaves: others take over at once
      // end
      #expect(count == 40)
    }
  }

  @Test func handlers() async throws {
    try await withOrders { client in
      let count = Mutex(0)
      @Sendable func bill(_ record: ConsumedRecord) async throws { count.withLock { $0 += 1 } }
      let consumer = try await client.consumer(group: "billing", topics: ["orders"])
      // snippet run
      let work = Task {
        try await consumer.run(concurrency: 16, ordering: .key) { record in
          try await bill(record)  // one at a time for a key, up to 16 side by side
        }
      }
      // end
      while count.withLock({ $0 }) < 40 { try await Task.sleep(for: .milliseconds(5)) }
      // snippet cancel
      work.cancel()  // handlers end, their records are committed, the member leaves
      try await work.value
      // end
      #expect(try await client.admin.describeGroup("billing").members.isEmpty)
    }
  }

  @Test func committing() async throws {
    try await withOrders { client in
      var table: [ConsumedPartition: Int] = [:]
      // snippet manual
      var configuration = ConsumerConfiguration()
      configuration.commitInterval = nil
      let consumer = try await client.consumer(group: "stock", topics: ["orders"], configuration)
      for try await batch in consumer.batches {
        try batch.forEachRecord { record in  // in place: nothing is copied, pointers are valid in here
          table[batch.source, default: 0] += record.value?.count ?? 0
        }
        // After the effect: if it fails in between, the effect is repeated and nothing is lost.
        try await consumer.commit([batch.source: ReadPosition(offset: batch.nextOffset)])
        if table.count == 4 { break }
      }
      // end
      await consumer.close()
      #expect(try await client.admin.fetchOffsets(group: "stock").count == 4)
    }
  }

  @Test func acknowledging() async throws {
    try await withOrders { client in
      final class Pipeline: Sendable {
        private let work = Mutex<[@Sendable () -> Void]>([])
        var count: Int { work.withLock { $0.count } }
        func enqueue(_ record: ConsumedRecord, _ done: @escaping @Sendable () -> Void) {
          work.withLock { $0.append(done) }
        }
        func finish() { for done in work.withLock({ $0 }).reversed() { done() } }
      }
      let pipeline = Pipeline()
      // snippet acknowledge
      var configuration = ConsumerConfiguration()
      configuration.acknowledges = true
      let consumer = try await client.consumer(group: "mail", topics: ["orders"], configuration)
      for try await record in consumer {
        pipeline.enqueue(record) {
          consumer.acknowledge(record)  // when it is finished: commits cover what is without a gap
        }
        if pipeline.count == 40 { break }
      }
      // end
      #expect(consumer.processed.isEmpty)
      pipeline.finish()
      await consumer.close()
      let committed = try await client.admin.fetchOffsets(group: "mail")
      #expect(committed.map(\.offset).reduce(0, +) == 40)
    }
  }

  @Test func rebalancing() async throws {
    try await withOrders { client in
      actor Cache {
        func load(_ partitions: [ConsumedPartition]) {}
        func flush(_ partitions: [ConsumedPartition]) {}
        func drop(_ partitions: [ConsumedPartition]) {}
      }
      let cache = Cache()
      // snippet rebalance
      var configuration = ConsumerConfiguration()
      configuration.rebalance = RebalanceHandlers(
        assigned: { await cache.load($0) },  // their records come when it has returned
        revoked: { await cache.flush($0) },  // still ours: then the last commit, then they are given back
        lost: { await cache.drop($0) })  // no longer ours: nothing can be committed
      let consumer = try await client.consumer(group: "cache", topics: ["orders"], configuration)
      // end

      // snippet steer-group
      let first = ConsumedPartition("orders", 0)
      for try await record in consumer where record.source == first {
        try consumer.pause([first])  // others go on; it stays ours
        try await consumer.seek(to: .beginning, partitions: [first])
        try consumer.resume([first])
        break
      }
      // end
      await consumer.close()
    }
  }
}
