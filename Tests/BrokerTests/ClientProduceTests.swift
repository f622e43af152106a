import Broker
import SkeinClient
import SkeinCore
import Synchronization
import Testing

/// The SDK's producer against a real broker.
@Suite(.serialized) struct ClientProduceTests {
  @Test(arguments: [Codec.none, .gzip, .zstd])
  func keepsOrderPerKeyOnKafkasPartitions(_ codec: Codec) async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await client.admin.createTopic("orders", partitions: 4)
    var configuration = ProducerConfiguration()
    configuration.compression = codec
    configuration.batchBytes = 2000
    let producer = try await client.producer(configuration)
    let orders = try await producer.topic("orders")
    for n in 0..<2000 { try await orders.append(key: bytes("key-\(n % 17)"), value: bytes("value \(n)")) }
    try await producer.close()

    let found = try await client.reader(topic: "orders", toTheEnd).all()
    #expect(found.count == 2000)
    var last: [String: Int] = [:]
    for record in found {
      let expected = (record.key ?? []).withUnsafeBytes { Murmur2.partition($0, count: 4) }
      #expect(record.partition == expected)
      let number = Int(text(record.value).dropFirst(6)) ?? -1
      #expect(number > last[text(record.key)] ?? -1)
      last[text(record.key)] = number
    }
    #expect(last.count == 17)
    await client.close()
    await broker.remove()
  }

  @Test func everySendLearnsItsOwnPlace() async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await client.admin.createTopic("t", partitions: 3)
    let producer = try await client.producer()
    let topic = try await producer.topic("t")
    let places = try await withThrowingTaskGroup(of: (Int, RecordMetadata).self) { group in
      for n in 0..<300 {
        group.addTask { (n, try await topic.send(value: bytes("\(n)"), partition: Int32(n % 3))) }
      }
      return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
    let found = try await client.reader(topic: "t", toTheEnd).all()
    #expect(found.count == 300)
    for record in found {
      let place = places[Int(text(record.value)) ?? -1]
      #expect(place?.partition == record.partition && place?.offset == record.offset)
      #expect(place?.timestamp == record.timestamp)
    }
    try await producer.close()
    await client.close()
    await broker.remove()
  }

  @Test func losesAndDuplicatesNothingWhenTheBrokerRestarts() async throws {
    let first = try await TestBroker.start()
    let port = first.port
    let client = try first.client()
    try await client.admin.createTopic("t", partitions: 2)
    var configuration = ProducerConfiguration()
    configuration.batchBytes = 500
    configuration.linger = .milliseconds(1)
    let producer = try await client.producer(configuration)
    let topic = try await producer.topic("t")
    let sending = Task {
      for n in 0..<3000 {
        try await topic.append(key: bytes("\(n % 5)"), value: bytes("\(n)"))
        if n % 50 == 0 { try await Task.sleep(for: .milliseconds(5)) }
      }
      try await producer.flush()
    }
    try await Task.sleep(for: .milliseconds(100))
    await first.stop()
    let second = try await TestBroker.start(folder: first.folder, identities: first.issuer) { $0.port = port }
    try await sending.value
    try await producer.close()

    let found = try await client.reader(topic: "t", toTheEnd).all()
    #expect(found.count == 3000)
    for key in 0..<5 {
      let numbers = found.filter { text($0.key) == "\(key)" }.compactMap { Int(text($0.value)) }
      #expect(numbers == Array(stride(from: key, to: 3000, by: 5)))
    }
    await client.close()
    await second.remove()
  }

  @Test func aFullBufferHoldsTheSenderBackAndNotForGood() async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await client.admin.createTopic("t", partitions: 1)
    var configuration = ProducerConfiguration()
    configuration.bufferBytes = 64 * 1024
    configuration.batchBytes = 16 * 1024
    let producer = try await client.producer(configuration)
    let topic = try await producer.topic("t")
    let value = [UInt8](repeating: 7, count: 1000)
    var refusals = 0
    for _ in 0..<1000 {
      while try value.withUnsafeBytes({ try topic.tryAppend(value: $0) }) == .bufferFull {
        refusals += 1
        await topic.waitForSpace()
      }
    }
    try await producer.close()
    #expect(refusals > 0)
    let ends = try await client.admin.listOffsets("t", at: .end)
    #expect(ends.map(\.offset) == [1000])
    await client.close()
    await broker.remove()
  }

  @Test func refusalsAreTyped() async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await client.admin.createTopic("t", partitions: 2)
    let producer = try await client.producer()
    await expect(reason: "TOPIC_NOT_FOUND") { _ = try await producer.topic("nope") }
    let topic = try await producer.topic("t")
    await expect(reason: "PARTITION_NOT_FOUND") { try await topic.send(value: [1], partition: 2) }
    await expect(reason: "RECORD_TOO_LARGE") {
      try await topic.send(value: [UInt8](repeating: 0, count: 9 << 20))
    }
    await expect(reason: "TIMESTAMP_INVALID") { try await topic.send(value: [1], timestamp: -5) }
    // A timestamp that only the broker can judge: the batch is refused, the producer lives.
    await expect(reason: "TIMESTAMP_INVALID") {
      try await topic.send(value: [1], timestamp: 4_000_000_000_000, partition: 0)
    }
    let place = try await topic.send(value: [2], partition: 0)
    #expect(place.offset == 0)
    try await producer.close()
    await expect(reason: "CANCELLED") { try await topic.send(value: [3]) }
    await client.close()
    await broker.remove()
  }

  @Test func aStrangerIsRefusedAndNobodyIsUnreachable() async throws {
    let broker = try await TestBroker.start()
    let stranger = try broker.client("stranger")
    await expect(reason: "UNAUTHENTICATED") { _ = try await stranger.admin.listTopics() }
    await stranger.close()
    // Nobody listens on port 1.
    let nobody = try broker.client(port: 1, patience: .milliseconds(200))
    await expect(reason: "UNREACHABLE") { _ = try await nobody.admin.listTopics() }
    await expect(reason: "UNREACHABLE") { _ = try await nobody.producer() }
    await nobody.close()
    await broker.remove()
  }
}
