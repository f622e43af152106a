import SkeinClient
import SkeinTestKit
import Synchronization
import Testing

/// The producer's ways of sending, and topics that change under it, against a real broker.
@Suite(.timeLimit(.minutes(1))) struct ProducerTests {
  @Test func resultsSayWhereAndHowLong() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("t", partitions: 1)
      try await client.withProducer { producer in
        let place = try await producer.send(to: "t", value: [1], timestamp: 5_000)
        #expect(place.offset == 0 && place.timestamp == 5_000)
        #expect(place.latency > .zero && place.latency < .seconds(20))
        // The broker's part is within ours.
        let spent = place.timings.queued + place.timings.appended + place.timings.synced
        #expect(spent > 0 && .microseconds(spent) <= place.latency)
      }
    }
  }

  @Test func aSinkGivesResultsInOrderAndRefusalsTheirPlace() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("t", partitions: 3)
      let producer = try await client.producer()
      let topic = try await producer.topic("t")
      let records = AsyncStream { continuation in
        for n in 0..<500 {
          continuation.yield(
            ProducerRecord(
              value: Array("\(n)".utf8), timestamp: Int64(n), partition: n == 250 ? 9 : Int32(n % 3)))
        }
        continuation.finish()
      }
      var numbers: [UInt64] = []
      var places: [Int: RecordMetadata] = [:]
      try await topic.publish(records, limit: 10) { published in
        numbers.append(published.number)
        switch published.result {
        case .success(let place): places[Int(published.number)] = place
        case .failure(let error): #expect(published.number == 250 && error.reason == "PARTITION_NOT_FOUND")
        }
      }
      #expect(numbers == Array(0..<500))
      #expect(places.count == 499)
      for record in try await readAll(client, "t") {
        let number = Int(String(decoding: record.value ?? [], as: UTF8.self)) ?? -1
        #expect(places[number]?.partition == record.partition && places[number]?.offset == record.offset)
        #expect(places[number]?.timestamp == record.timestamp)
      }
      let all = try await topic.send(
        contentsOf: (0..<20).map { ProducerRecord(key: [UInt8($0)], value: [1]) })
      #expect(all.count == 20 && all.allSatisfy { (try? $0.get()) != nil })
      try await producer.close()
    }
  }

  @Test func codecsAreChosenByTopicAndCall() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("t", partitions: 1)
      let value = [UInt8](repeating: 7, count: 2_000)
      try await client.withProducer { producer in
        let plain = try await producer.topic("t")
        let gzip = try await producer.topic("t", compression: .gzip)
        try await plain.send(value: value)
        try await gzip.send(value: value)
        try await plain.compressed(with: .zstd).send(value: value)
        if Codec.lz4.isSupported { try await plain.compressed(with: .lz4).send(value: value) }
        #expect(throws: SkeinError.self) { try plain.compressed(with: .snappy) }
      }
      var configuration = ReaderConfiguration()
      configuration.stopsAtEnd = true
      var codecs: [Codec?] = []
      for try await batch in try await client.reader(topic: "t", configuration) {
        codecs.append(
          try batch.bytes.withUnsafeBytes { bytes throws(BatchError) in try BatchHeader(parsing: bytes).codec
          })
        #expect(try batch.records().map(\.value) == [value])
      }
      #expect(codecs == [Codec.none, .gzip, .zstd] + (Codec.lz4.isSupported ? [.lz4] : []))
    }
  }

  /// Partitions are added while records flow: each is there once, each key in order, none fails.
  @Test func partitionsAddedUnderLoadLoseAndReorderNothing() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("t", partitions: 2)
      var configuration = ProducerConfiguration()
      configuration.linger = .milliseconds(1)
      configuration.batchBytes = 500
      let producer = try await client.producer(configuration)
      let topic = try await producer.topic("t")
      let sending = Task {
        for n in 0..<4_000 {
          try await topic.append(key: [UInt8(n % 11)], value: Array("\(n)".utf8))
          if n % 50 == 0 { try await Task.sleep(for: .milliseconds(2)) }
        }
        try await producer.flush()
      }
      for partitions in [3, 5, 8] as [Int32] {
        try await Task.sleep(for: .milliseconds(30))
        try await client.admin.addPartitions("t", upTo: partitions)
      }
      try await sending.value
      // The new partitions are in use.
      while topic.partitionCount < 8 {
        try await producer.refresh(topic)
        try await Task.sleep(for: .milliseconds(5))
      }
      for key in 0..<100 { try await topic.append(key: [UInt8(key), 1], value: []) }
      try await producer.close()

      let found = try await readAll(client, "t")
      #expect(found.count == 4_100)
      #expect(Set(found.map(\.partition)).count == 8)
      var seen: Set<[UInt8]> = []
      for key in 0..<11 {
        // Partitions are read side by side: the order of a key's records across them is that of their times.
        let records = found.filter { $0.key == [UInt8(key)] }
        var last: [Int32: Int] = [:]
        for record in records {
          let number = Int(String(decoding: record.value ?? [], as: UTF8.self)) ?? -1
          #expect(number > last[record.partition] ?? -1)
          last[record.partition] = number
          #expect(seen.insert(record.value ?? []).inserted, "record \(number) is there twice")
        }
        #expect(records.count == (4_000 - key + 10) / 11)
        // It moves at most once with each growth (perhaps back): never in two places at once.
        let homes = records.map { (Int(String(decoding: $0.value ?? [], as: UTF8.self)) ?? -1, $0.partition) }
          .sorted { $0.0 < $1.0 }.map(\.1)
        let moves = zip(homes, homes.dropFirst()).count { $0 != $1 }
        #expect(moves <= 3, "key \(key) moved \(moves) times")
      }
    }
  }

  @Test func leavingTheScopeFlushes() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("t", partitions: 1)
      struct Stop: Error {}
      await #expect(throws: Stop.self) {
        try await client.withProducer { producer in
          let topic = try await producer.topic("t")
          for n in 0..<10 { try await topic.append(value: [UInt8(n)]) }
          throw Stop()
        }
      }
      #expect(try await readAll(client, "t").count == 10)
    }
  }
}
