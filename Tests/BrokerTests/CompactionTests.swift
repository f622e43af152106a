import Broker
import Foundation
import FoundationNetworking
import RecordFormat
import SkeinCore
import Testing
import Transport
import Wire

/// Compacted topics as a client sees them.
@Suite(.serialized) struct CompactionTests {
  private func bytes(_ text: String) -> SharedBytes { SharedBytes(Array(text.utf8)) }

  /// A batch with these keys, nil without one.
  private func batch(_ keys: [String?], codec: Codec = .none) throws -> SharedBytes {
    var builder = BatchBuilder(codec: codec)
    let value = String(repeating: "value ", count: 100)
    for key in keys {
      try builder.append(
        key: key.map { Array($0.utf8) }, value: Array(value.utf8), timestamp: 1_700_000_000_000)
    }
    return try builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1)
  }

  @Test func recordsWithoutAKeyAreRefused() async throws {
    let (test, connection) = try await StreamTests.setUp(settings: ["cleanup.policy": "compact"])
    // One record alone is refused of a unary call, as with every other flaw of a record.
    let published: PublishResponse = try await connection.call(
      ProducerMethod.publish,
      PublishRequest(
        topic: "t", records: [Record(key: bytes("a"), value: bytes("1")), Record(value: bytes("2"))]))
    #expect(published.results.map { $0.error.map { Fault($0).reason } } == [nil, .keyRequired])
    #expect(published.results.first?.offset == 0)

    // A batch is refused as a whole, compressed or not, and the stream lives.
    let (stream, _) = try await StreamTests.open(connection)
    let batches = [
      try batch(["a", nil, "c"]), try batch(["a", nil], codec: .zstd), try batch(["a", "b"], codec: .zstd),
      try batch(["a", ""]),
    ]
    for (number, batch) in batches.enumerated() {
      try await stream.send(
        PublishStreamRequest(target: StreamTests.target(UInt64(number)), batch: batch))
    }
    let acks = try await StreamTests.acks(stream, 4)
    #expect(acks.map { $0.error.map { Fault($0).reason } } == [.keyRequired, .keyRequired, nil, nil])
    #expect(acks.suffix(2).map(\.baseOffset) == [1, 3], "a refused batch left something behind")
    try await stream.sendEnd()

    // The policy is a setting like others: it changes on a live topic.
    let _: UpdateTopicResponse = try await connection.call(
      TopicsMethod.update, UpdateTopicRequest(name: "t", set: ["cleanup.policy": "compact,delete"]))
    let _: UpdateTopicResponse = try await connection.call(
      TopicsMethod.update, UpdateTopicRequest(name: "t", set: ["cleanup.policy": "delete"]))
    let keyless: PublishResponse = try await connection.call(
      ProducerMethod.publish, PublishRequest(topic: "t", records: [Record(value: bytes("2"))]))
    #expect(keyless.results.map(\.offset) == [5] && keyless.results.first?.error == nil)
    await connection.close()
    await test.remove()
  }

  @Test func settingsAreChecked() async throws {
    let (test, connection) = try await StreamTests.setUp()
    for (name, value) in [
      ("cleanup.policy", "compress"), ("min.cleanable.dirty.ratio", "1.01"),
      ("min.cleanable.dirty.ratio", "nan"), ("min.cleanable.dirty.ratio", "-0.5"),
      ("delete.retention.ms", "-1"), ("min.compaction.lag.ms", "1s"),
    ] {
      let refused = await fault {
        let _: UpdateTopicResponse = try await connection.call(
          TopicsMethod.update, UpdateTopicRequest(name: "t", set: [name: value]))
      }
      #expect(refused?.reason == .invalidRequest, "\(name)=\(value)")
      #expect(refused?.violations.first?.field == "set[\(name)]")
    }
    let changed: UpdateTopicResponse = try await connection.call(
      TopicsMethod.update,
      UpdateTopicRequest(
        name: "t",
        set: [
          "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.25", "delete.retention.ms": "0",
          "min.compaction.lag.ms": "1000",
        ]))
    #expect(changed.settings.map(\.value) == ["compact", "0", "0.25", "1000"])
    await connection.close()
    await test.remove()
  }

  /// The broker compacts by itself, readers are led over what is gone, and a restart changes nothing.
  @Test func onlyTheLastValueOfEachKeyStays() async throws {
    func configure(_ configuration: inout BrokerConfiguration) {
      configuration.maintenanceMilliseconds = 20
      configuration.compactionIntervalMilliseconds = 20
    }
    let test = try await TestBroker.start(configure: configure)
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create,
      CreateTopicRequest(
        name: "t", partitions: 1,
        settings: [
          "cleanup.policy": "compact", "segment.bytes": "65536", "segment.ms": "1000",
          "min.cleanable.dirty.ratio": "0.01",
        ]))
    let filler = String(repeating: "x", count: 2000)
    for round in 0..<20 {
      let records = (0..<20).map { key in
        Record(key: bytes("key-\(key)"), value: bytes("\(round) \(filler)"))
      }
      let _: PublishResponse = try await connection.call(
        ProducerMethod.publish, PublishRequest(topic: "t", records: records))
    }
    let before = try await read(connection)
    #expect(before.count <= 400)
    for _ in 0..<600 {
      if try await read(connection).count == 20 { break }
      try await Task.sleep(for: .milliseconds(20))
    }
    let after = try await read(connection)
    #expect(after.count == 20 && after.values.allSatisfy { $0.hasPrefix("19 ") })
    let url = try #require(URL(string: "http://127.0.0.1:\(test.operationsPort)/metrics"))
    let page = String(decoding: try await URLSession.shared.data(from: url).0, as: UTF8.self)
    #expect(page.contains("skein_compaction_dropped_records_total 380"), "\(page)")
    await connection.close()
    await test.stop()

    let again = try await TestBroker.start(folder: test.folder, identities: test.issuer)
    let second = try await again.connect()
    #expect(try await read(second) == after)
    await second.close()
    await again.remove()
  }

  /// Every record from the beginning, by offset, as a reader gets them that follows `next_offset`.
  private func read(_ connection: GRPCConnection) async throws -> [Int64: String] {
    var found: [Int64: String] = [:]
    var next: Int64 = 0
    while true {
      let fetched: FetchResponse = try await connection.call(
        ConsumerMethod.fetch,
        FetchRequest(
          partitions: [FetchPartition(topic: "t", partition: 0, offset: next)], decoded: true))
      let part = try #require(fetched.partitions.first)
      #expect(part.error == nil)
      for record in part.records {
        found[record.offset] = String(decoding: record.value?.array ?? [], as: UTF8.self)
      }
      if part.nextOffset <= next { return found }
      next = part.nextOffset
      if next >= part.highWatermark { return found }
    }
  }
}
