import RecordFormat
import SkeinCore
import Testing

/// What the builder writes, check and reader accept, and read back as it was.
@Suite struct RoundTripTests {
  struct Item: Equatable {
    var key: [UInt8]?
    var value: [UInt8]?
    var timestamp: Int64
    var headers: [String: [UInt8]?] = [:]
  }

  static func items(_ count: Int) -> [Item] {
    (0..<count).map { (index: Int) -> Item in
      var item = Item(timestamp: 1_700_000_000_000 + Int64((index * 7919) % 1000 - 500))
      if index % 3 == 1 { item.key = [] }
      if index % 3 == 2 { item.key = Array("key-\(index)".utf8) }
      if index % 5 != 0 { item.value = Array("value \(index) value \(index)".utf8) }
      if index % 4 == 0 { item.headers = ["a": [1, 2], "ü": nil, "": []] }
      return item
    }
  }

  static func build(_ items: [Item], into builder: inout BatchBuilder) throws -> SharedBytes {
    for item in items {
      var headers = RecordHeaders()
      for (name, value) in item.headers { try headers.append(name: name, value: value) }
      try builder.append(
        key: item.key, value: item.value, headers: headers, timestamp: item.timestamp)
    }
    return try builder.finish(producerID: 7, producerEpoch: 2, baseSequence: 40)
  }

  static func read(_ batch: SharedBytes, _ reader: inout BatchReader) throws -> [Item] {
    var found: [Item] = []
    try batch.withUnsafeBytes { bytes in
      var expected = try BatchHeader(parsing: bytes).baseOffset
      try reader.forEach(bytes) { record in
        #expect(record.offset == expected)
        expected += 1
        var item = Item(
          key: record.key.map(Array.init), value: record.value.map(Array.init),
          timestamp: record.timestamp)
        for header in record.headers {
          item.headers.updateValue(header.value.map(Array.init), forKey: header.nameText)
        }
        found.append(item)
      }
    }
    return found
  }

  @Test(arguments: [Codec.none, .gzip, .lz4, .zstd])
  func whatWasBuiltIsRead(_ codec: Codec) throws {
    var builder = BatchBuilder(codec: codec, capacity: 300)
    var reader = BatchReader()
    for count in [1, 2, 100, 3000, 5] {
      let items = Self.items(count)
      let batch = try Self.build(items, into: &builder)
      let header = try batch.withUnsafeBytes { try BatchCheck.produce($0) }
      #expect(Int(header.recordCount) == count)
      #expect(header.codec == codec || count < 3)
      #expect(header.totalSize == batch.count)
      #expect((header.producerID, header.producerEpoch, header.baseSequence) == (7, 2, 40))
      #expect(header.lastSequence == 40 + Int32(count) - 1)

      batch.withUnsafeMutableBytesBeforeSharing {
        BatchStamp.baseOffset(1_000_000, leaderEpoch: 9, in: $0)
      }
      let stored = try batch.withUnsafeBytes { try BatchCheck.stored($0) }
      #expect(stored.baseOffset == 1_000_000 && stored.leaderEpoch == 9 && stored.crc == header.crc)
      #expect(stored.nextOffset == 1_000_000 + Int64(count))
      #expect(try Self.read(batch, &reader) == items)
    }
  }
}
