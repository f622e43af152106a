import Broker
import SkeinClient
import SkeinCore
import Testing

/// The SDK's reader and admin calls against a real broker.
@Suite(.serialized) struct ClientReadTests {
  /// A topic with the values "0" … "n-1" in one partition, in batches of ten.
  private func fill(_ client: Client, _ topic: String, _ count: Int) async throws {
    try await client.admin.createTopic(topic, partitions: 1)
    let producer = try await client.producer()
    let target = try await producer.topic(topic)
    for n in 0..<count {
      try await target.append(value: bytes("\(n)"), timestamp: 1_000_000 + Int64(n))
      if n % 10 == 9 { try await producer.flush() }
    }
    try await producer.close()
  }

  @Test func beginsWhereItIsTold() async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await fill(client, "t", 100)
    for (start, first) in [
      (ReadStart.beginning, 0), (.offset(37), 37), (.offsets([0: 99]), 99), (.timestamp(1_000_055), 55),
    ] {
      let found = try await client.reader(topic: "t", from: start, toTheEnd).all()
      #expect(found.map { text($0.value) } == (first..<100).map(String.init), "\(start)")
      #expect(found.first?.offset == Int64(first))
    }
    #expect(try await client.reader(topic: "t", from: .end, toTheEnd).all().isEmpty)
    await client.close()
    await broker.remove()
  }

  @Test func waitsForWhatComes() async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await fill(client, "t", 10)
    let reader = try await client.reader(topic: "t", from: .end)
    let producer = try await client.producer()
    let target = try await producer.topic("t")
    try await target.send(key: [], value: nil, headers: nil)
    let batch = try #require(try await reader.nextBatch())
    let record = try #require(try batch.records().first)
    #expect(record.offset == 10 && record.key == [] && record.value == nil)
    #expect(batch.highWatermark == 11)
    let waiting = Task { try await reader.nextBatch() == nil }
    await reader.close()
    #expect(try await waiting.value)
    try await producer.close()
    await client.close()
    await broker.remove()
  }

  @Test func smallCreditsDeliverEverything() async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await fill(client, "t", 500)
    var configuration = toTheEnd
    configuration.bufferBytes = 300
    configuration.bufferRecords = 15
    configuration.maxMessageBytes = 200
    let found = try await client.reader(topic: "t", configuration).all()
    #expect(found.map { text($0.value) } == (0..<500).map(String.init))
    await client.close()
    await broker.remove()
  }

  @Test func goesOnAfterARestart() async throws {
    let first = try await TestBroker.start()
    let port = first.port
    let client = try first.client()
    try await fill(client, "t", 50)
    let reader = try await client.reader(topic: "t")
    var found: [String] = []
    while found.count < 50, let batch = try await reader.nextBatch() {
      found += try batch.records().map { text($0.value) }
    }
    await first.stop()
    let second = try await TestBroker.start(folder: first.folder, identities: first.issuer) { $0.port = port }
    let producer = try await client.producer()
    try await producer.send(to: "t", value: bytes("50"))
    let batch = try #require(try await reader.nextBatch())
    found += try batch.records().map { text($0.value) }
    #expect(found == (0...50).map(String.init))
    await reader.close()
    try await producer.close()
    await client.close()
    await second.remove()
  }

  @Test func deletedRecordsAreOutOfRange() async throws {
    let broker = try await TestBroker.start()
    let client = try broker.client()
    try await fill(client, "t", 30)
    let results = try await client.admin.deleteRecords("t", before: [0: 20])
    #expect(results.map(\.offset) == [20])
    let reader = try await client.reader(topic: "t", from: .offset(5), toTheEnd)
    await expect(reason: "OFFSET_OUT_OF_RANGE") { _ = try await reader.nextBatch() }
    let rest = try await client.reader(topic: "t", toTheEnd).all()
    #expect(rest.map { text($0.value) } == (20..<30).map(String.init))
    let description = try await client.admin.describeTopic("t")
    #expect(description.partitions.first?.logStart == 20)
    try await client.admin.deleteTopic("t")
    await expect(reason: "TOPIC_NOT_FOUND") { _ = try await client.reader(topic: "t") }
    #expect(try await client.admin.describeCluster().principal == "admin")
    await client.close()
    await broker.remove()
  }
}
