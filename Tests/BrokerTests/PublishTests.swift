import Broker
import Foundation
import SkeinCore
import Testing
import Transport
import Wire

@Suite(.serialized) struct PublishTests {
  private func bytes(_ text: String) -> SharedBytes { SharedBytes(Array(text.utf8)) }

  @Test func whatIsPublishedIsFetchedInOrder() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "orders", partitions: 4))
    let records = (0..<100).map {
      Record(
        key: bytes("key-\($0 % 7)"), value: bytes("value-\($0)"),
        headers: [Header(name: "n", value: bytes("\($0)"))])
    }
    let published: PublishResponse = try await connection.call(
      ProducerMethod.publish, PublishRequest(topic: "orders", records: records))
    #expect(published.results.count == 100)
    #expect(published.results.allSatisfy { $0.error == nil })
    for (record, result) in zip(records, published.results) {
      let expected = record.key?.withUnsafeBytes { Murmur2.partition($0, count: 4) }
      #expect(result.partition == expected)
    }
    var seen: [String: [String]] = [:]
    for partition in Int32(0)..<4 {
      let fetched: FetchResponse = try await connection.call(
        ConsumerMethod.fetch,
        FetchRequest(partitions: [FetchPartition(topic: "orders", partition: partition)], decoded: true))
      let part = try #require(fetched.partitions.first)
      #expect(part.error == nil)
      #expect(part.records.map(\.offset) == Array(0..<Int64(part.records.count)))
      #expect(part.nextOffset == part.highWatermark)
      for record in part.records {
        let key = String(decoding: record.key?.array ?? [], as: UTF8.self)
        seen[key, default: []].append(String(decoding: record.value?.array ?? [], as: UTF8.self))
        #expect(record.headers.first?.name == "n")
      }
    }
    #expect(seen.count == 7)
    for key in 0..<7 {
      let expected = stride(from: key, to: 100, by: 7).map { "value-\($0)" }
      #expect(seen["key-\(key)"] == expected)
    }
    await connection.close()
    await test.remove()
  }

  @Test func errorsStandBesideTheRecordTheyConcern() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create,
      CreateTopicRequest(name: "t", partitions: 2, settings: ["max.message.bytes": "2000"]))
    let response: PublishResponse = try await connection.call(
      ProducerMethod.publish,
      PublishRequest(
        topic: "t",
        records: [
          Record(value: bytes("fine"), partition: 0),
          Record(value: bytes("nowhere"), partition: 2),
          Record(value: SharedBytes([UInt8](repeating: 1, count: 5_000)), partition: 0),
          Record(value: bytes("early"), timestampMs: -5, partition: 0),
          Record(value: bytes("late"), timestampMs: 1 << 60, partition: 1),
          Record(value: bytes("fine too"), partition: 0),
        ]))
    let reasons = response.results.map { $0.error.map { Fault($0).reason } }
    #expect(
      reasons == [
        nil, .partitionNotFound, .recordTooLarge, .timestampInvalid, .timestampInvalid, nil,
      ])
    #expect(response.results[0].offset == 0)
    #expect(response.results[5].offset == 1)
    let unknown = await fault {
      let _: PublishResponse = try await connection.call(
        ProducerMethod.publish, PublishRequest(topic: "nope", records: [Record(value: bytes("x"))]))
    }
    #expect(unknown?.reason == .topicNotFound)
    await connection.close()
    await test.remove()
  }

  @Test func offsetsOutsideTheLogSayWhatIsValid() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 1))
    let _: PublishResponse = try await connection.call(
      ProducerMethod.publish,
      PublishRequest(topic: "t", records: [Record(value: bytes("a")), Record(value: bytes("b"))]))
    let fetched: FetchResponse = try await connection.call(
      ConsumerMethod.fetch,
      FetchRequest(partitions: [
        FetchPartition(topic: "t", partition: 0, offset: 3),
        FetchPartition(topic: "t", partition: 9, offset: 0),
        FetchPartition(topic: "t", partition: 0, offset: -1),
        FetchPartition(topic: "t", partition: 0, offset: 1),
      ]))
    let faults = fetched.partitions.map { $0.error.map { Fault($0) } }
    #expect(faults[0]?.reason == .offsetOutOfRange)
    #expect(faults[0]?.metadata["high_watermark"] == "2")
    #expect(faults[1]?.reason == .partitionNotFound)
    #expect(faults[2]?.reason == .invalidRequest)
    #expect(faults[3] == nil)
    await connection.close()
    await test.remove()
  }

  @Test func aFetchWaitsForRecords() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 1))
    let position = FetchPartition(topic: "t", partition: 0, offset: 0)
    let empty: FetchResponse = try await connection.call(
      ConsumerMethod.fetch, FetchRequest(partitions: [position], maxWaitMs: 50, decoded: true))
    #expect(empty.partitions.first?.records.isEmpty == true)
    #expect(empty.partitions.first?.error == nil)

    async let waiting: FetchResponse = connection.call(
      ConsumerMethod.fetch, FetchRequest(partitions: [position], maxWaitMs: 15_000, decoded: true))
    try await Task.sleep(for: .milliseconds(50))
    let _: PublishResponse = try await connection.call(
      ProducerMethod.publish, PublishRequest(topic: "t", records: [Record(value: bytes("news"))]))
    let woken = try await waiting
    #expect(woken.partitions.first?.records.count == 1)
    await connection.close()
    await test.remove()
  }

  @Test func recordsSurviveACleanRestart() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 1))
    let _: PublishResponse = try await connection.call(
      ProducerMethod.publish,
      PublishRequest(topic: "t", records: (0..<50).map { Record(value: bytes("r\($0)")) }))
    await connection.close()
    await test.stop()
    let again = try await TestBroker.start(folder: test.folder, identities: test.issuer)
    let second = try await again.connect()
    let fetched: FetchResponse = try await second.call(
      ConsumerMethod.fetch,
      FetchRequest(partitions: [FetchPartition(topic: "t", partition: 0)], decoded: true))
    let values = fetched.partitions.first?.records.map {
      String(decoding: $0.value?.array ?? [], as: UTF8.self)
    }
    #expect(values == (0..<50).map { "r\($0)" })
    let more: PublishResponse = try await second.call(
      ProducerMethod.publish, PublishRequest(topic: "t", records: [Record(value: bytes("next"))]))
    #expect(more.results.first?.offset == 50)
    await second.close()
    await again.remove()
  }

  @Test func deletedRecordsAreGone() async throws {
    let test = try await TestBroker.start()
    let connection = try await test.connect()
    let _: CreateTopicResponse = try await connection.call(
      TopicsMethod.create, CreateTopicRequest(name: "t", partitions: 1))
    for index in 0..<10 {
      let _: PublishResponse = try await connection.call(
        ProducerMethod.publish, PublishRequest(topic: "t", records: [Record(value: bytes("r\(index)"))]))
    }
    let deleted: DeleteRecordsResponse = try await connection.call(
      TopicsMethod.deleteRecords,
      DeleteRecordsRequest(
        topic: "t", partitions: [DeleteRecordsPartition(partition: 0, beforeOffset: 4)]))
    #expect(deleted.partitions.first?.error == nil)
    let earliest: ListOffsetsResponse = try await connection.call(
      TopicsMethod.listOffsets, ListOffsetsRequest(topic: "t", spec: .earliest))
    #expect(earliest.partitions.first?.offset == 4)
    let latest: ListOffsetsResponse = try await connection.call(
      TopicsMethod.listOffsets, ListOffsetsRequest(topic: "t", spec: .latest))
    #expect(latest.partitions.first?.offset == 10)
    let below: FetchResponse = try await connection.call(
      ConsumerMethod.fetch,
      FetchRequest(partitions: [FetchPartition(topic: "t", partition: 0, offset: 3)]))
    #expect(below.partitions.first?.error.map { Fault($0).reason } == .offsetOutOfRange)
    let beyond: DeleteRecordsResponse = try await connection.call(
      TopicsMethod.deleteRecords,
      DeleteRecordsRequest(
        topic: "t", partitions: [DeleteRecordsPartition(partition: 0, beforeOffset: 99)]))
    #expect(beyond.partitions.first?.error.map { Fault($0).reason } == .offsetOutOfRange)
    await connection.close()
    await test.remove()
  }
}
