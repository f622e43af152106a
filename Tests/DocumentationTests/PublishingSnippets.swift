import Configuration
import SkeinClient
import SkeinTestKit
import Testing
import Tracing

// The code of the articles in SkeinClient.docc, compiled and run. What stands between
// `snippet` and `end` stands there word for word; `SnippetTests` compares them.

struct Order: Sendable {
  let id: String
  let bytes: [UInt8]
}

let orders = (0..<20).map { Order(id: "order-\($0 % 5)", bytes: Array("content \($0)".utf8)) }

@Suite(.timeLimit(.minutes(1))) struct PublishingSnippets {
  @Test func connecting() async throws {
    try await TestBroker.run { broker, admin in
      let config = ConfigReader(
        provider: InMemoryProvider(values: [
          "skein.servers": .init(.stringArray([broker.address]), isSecret: false),
          "skein.tls.ca": "tls/ca.pem", "skein.tls.certificate": "tls/admin.pem",
          "skein.tls.key": "tls/admin.key",
        ]))
      // snippet configuration
      var configuration = try ClientConfiguration(config: config)  // skein.servers, skein.tls.ca, …
      configuration.waitsForReady = true  // calls wait for a broker that restarts
      let client = try Client(configuration)
      // end
      client.replaceIdentity(try broker.identity(principal: "service"))
      // snippet create
      try await client.admin.createTopicIfMissing(
        "orders", partitions: 8, settings: ["retention.ms": "86400000", "compression.type": "zstd"])
      // end
      #expect(try await admin.admin.topicSummary("orders").partitionCount == 8)
      await client.close()
    }
  }

  @Test func sending() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("orders", partitions: 2)
      // snippet send
      let place = try await client.withProducer { producer in
        let topic = try await producer.topic("orders")
        let place = try await topic.send(key: Array("alice".utf8), value: Array("four figs".utf8))
        print(place.partition, place.offset ?? -1, place.latency, place.timings.synced, "µs of it syncing")
        return place
      }
      // end
      #expect(place.offset == 0)

      // snippet append
      try await client.withProducer { producer in
        let topic = try await producer.topic("orders")
        for order in orders {
          // Suspends only while the buffer is full. Records of a key keep their order.
          try await topic.append(key: Array(order.id.utf8), value: order.bytes)
        }
        try await producer.flush()  // throws the first failure, if there was one
      }
      // end

      let producer = try await client.producer()
      let topic = try await producer.topic("orders")
      let records = AsyncStream { continuation in
        for order in orders {
          continuation.yield(ProducerRecord(key: Array(order.id.utf8), value: order.bytes))
        }
        continuation.finish()
      }
      // snippet stream
      try await topic.publish(records) { published in
        switch published.result {
        case .success(let place): print(published.number, "is at", place.offset ?? -1)
        case .failure(let error): print(published.number, "was refused:", error.message)
        }
      }
      // end

      // snippet codec
      let archive = try await producer.topic("orders", compression: .zstd)  // this topic
      try await topic.compressed(with: .gzip).send(value: Array("a large text".utf8))  // this call
      // end
      try await archive.send(value: [1])

      // snippet errors
      do throws(SkeinError) {
        try await topic.send(value: Array("five kiwis".utf8), partition: 99)
      } catch {
        if error.outcome == .unknown {
          // It may be stored. Only whoever can tell (by reading, or by an idempotent request) may repeat it.
        } else if error.isRetriable {
          // Nothing was stored, and the same may succeed later.
        } else {
          // Nothing was stored, and the request must change: reason is for programs, message for people.
          // PARTITION_NOT_FOUND orders has no partition 99; valid are 0 to 1
          print(error.reason, error.message)
        }
      }
      // end
      try await producer.close()
      #expect(try await client.admin.listOffsets("orders", at: .end).map(\.offset).reduce(0, +) == 43)
    }
  }

  @Test func tracing() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("orders", partitions: 1)
      try await client.withProducer { _ = try await $0.send(to: "orders", value: [1]) }
      func handle(_ record: ConsumedRecord) async throws {}
      var configuration = ReaderConfiguration()
      configuration.stopsAtEnd = true
      let reader = try await client.reader(topic: "orders", configuration)
      // snippet trace
      for try await record in reader.records {
        try await record.withSpan { span in  // continues the producer's trace
          span.attributes["order.size"] = record.value?.count ?? 0
          try await handle(record)
        }
      }
      // end
    }
  }
}
