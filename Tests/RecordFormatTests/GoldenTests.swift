import Foundation
import RecordFormat
import SkeinCore
import Testing

/// Bytes of an implementation that is not ours (Golden/README.md), field by field.
@Suite struct GoldenTests {
  @Test(arguments: Golden.names)
  func everyFieldIsReadAsKafkaPythonReadsIt(_ name: String) throws {
    let expected = try Golden.expectation(name)
    #expect(expected.origin.hasPrefix("kafka-python 3."))
    let batches = try Golden.batches(name)
    try #require(batches.count == expected.batches.count)
    var reader = BatchReader()
    for (bytes, want) in zip(batches, expected.batches) {
      var records: [Golden.Record] = []
      let header = try bytes.withUnsafeBytes { bytes in
        let checked = try BatchCheck.stored(bytes)
        let read = try reader.forEach(bytes) { records.append(Golden.Record($0)) }
        #expect(read == checked)
        return checked
      }
      expectEqual(header, want)
      #expect(records == (want.control ? [] : want.records))
    }
  }

  private func expectEqual(_ header: BatchHeader, _ want: Golden.Batch) {
    #expect(header.baseOffset == want.base_offset)
    #expect(header.totalSize == want.size)
    #expect(header.leaderEpoch == want.leader_epoch)
    #expect(header.crc == want.crc)
    #expect(header.attributes == want.attributes)
    #expect(header.lastOffsetDelta == want.last_offset_delta)
    #expect(header.baseTimestamp == want.base_timestamp)
    #expect(header.maxTimestamp == want.max_timestamp)
    #expect(header.producerID == want.producer_id)
    #expect(header.producerEpoch == want.producer_epoch)
    #expect(header.baseSequence == want.base_sequence)
    // -1 stands for "none" there and is arithmetic on it here: idempotent batches only.
    if header.baseSequence >= 0 { #expect(header.lastSequence == want.last_sequence) }
    #expect(header.nextOffset == want.next_offset)
    #expect(header.recordCount == want.count)
    #expect(header.isControl == want.control)
    #expect(header.isTransactional == want.transactional)
    #expect(header.codec?.rawValue == want.codec)
  }

  @Test(arguments: Golden.producible)
  func producersMaySendThem(_ name: String) throws { try produce(Golden.bytes(name)) }

  /// Uncompressed batches come out of our builder as the very same bytes.
  @Test(arguments: Golden.producible)
  func weWriteTheSameBytes(_ name: String) throws {
    let bytes = try Golden.bytes(name)
    let want = try Golden.expectation(name).batches[0]
    var builder = BatchBuilder(capacity: 100)
    for item in want.records {
      var headers = RecordHeaders()
      for pair in item.headers {
        let headerName = String(decoding: unhexed(try #require(pair[0])), as: UTF8.self)
        try headers.append(name: headerName, value: pair[1].map(unhexed))
      }
      try builder.append(
        key: item.key.map(unhexed), value: item.value.map(unhexed), headers: headers,
        timestamp: item.timestamp)
    }
    let ours = try builder.finish(
      producerID: want.producer_id, producerEpoch: want.producer_epoch,
      baseSequence: want.base_sequence)
    ours.withUnsafeMutableBytesBeforeSharing {
      BatchStamp.baseOffset(want.base_offset, leaderEpoch: want.leader_epoch, in: $0)
    }
    guard want.codec == 0 else {
      // Compressed bytes depend on the library; the records section they unpack to does not.
      #expect(try inflatedRecords(bytes) == Array(ours.array[BatchHeader.size...]))
      return
    }
    #expect(ours.array == bytes)
  }

  /// The records of a compressed batch, encoded again without compression.
  private func inflatedRecords(_ bytes: [UInt8]) throws -> [UInt8] {
    var reader = BatchReader()
    var builder = BatchBuilder()
    try bytes.withUnsafeBytes {
      _ = try reader.forEach($0) {
        try builder.append(
          key: $0.key, value: $0.value, headers: $0.headers, timestamp: $0.timestamp)
      }
    }
    return Array(try builder.finish().array[BatchHeader.size...])
  }

  @Test func murmur2LandsOnKafkasPartition() throws {
    struct Vectors: Codable {
      struct Vector: Codable {
        var key: String
        var hash: UInt32
        var partitions: [String: Int32]
      }
      var vectors: [Vector]
    }
    let file = Golden.folder.appendingPathComponent("murmur2.json")
    let vectors = try JSONDecoder().decode(Vectors.self, from: Data(contentsOf: file)).vectors
    #expect(vectors.count > 100)
    for vector in vectors {
      unhexed(vector.key).withUnsafeBytes { key in
        #expect(Murmur2.hash(key) == vector.hash)
        for (count, partition) in vector.partitions {
          #expect(Murmur2.partition(key, count: Int32(count) ?? 0) == partition)
        }
      }
    }
  }
}
