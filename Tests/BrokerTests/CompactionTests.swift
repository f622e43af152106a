import Broker
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
}
