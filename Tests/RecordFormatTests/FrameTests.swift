import Foundation
import RecordFormat
import SkeinCore
import Testing

/// The frame tells its own batch from every other (R3): partition, topic, offset, epoch, bytes.
@Suite struct FrameTests {
  static let key = TopicPartition(
    topic: TopicID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210), partition: 5)

  /// The bytes of a frame for `golden`, and that batch's header.
  static func framed(_ golden: String = "single") throws -> (frame: [UInt8], header: BatchHeader) {
    var batch = try Golden.bytes(golden)
    batch.withUnsafeMutableBytes { BatchStamp.baseOffset(1_234_567, leaderEpoch: 8, in: $0) }
    let header = try batch.withUnsafeBytes { try BatchHeader(parsing: $0) }
    var frame = Frame(batch: header, appendTime: 1_700_000_123_456, generation: 3)
    var bytes = [UInt8](repeating: 0xee, count: Frame.size)
    bytes.withUnsafeMutableBytes { frame.encode(into: $0, key: key, batchCRC: header.crc) }
    return (bytes, header)
  }

  private func parsed(_ bytes: [UInt8]) throws(FrameError) -> Frame {
    try bytes.withUnsafeBufferPointer { (buffer) throws(FrameError) in
      try Frame(parsing: UnsafeRawBufferPointer(buffer))
    }
  }

  @Test func whatWasWrittenIsRead() throws {
    let (bytes, header) = try Self.framed()
    let frame = try parsed(bytes)
    #expect(frame.length == 76 && frame.totalSize == 132)
    #expect(frame.baseOffset == 1_234_567 && frame.nextOffset == 1_234_568)
    #expect(frame.leaderEpoch == 8 && frame.generation == 3 && frame.keyID == 0)
    #expect(frame.appendTime == 1_700_000_123_456)
    #expect(frame.maxTimestamp == header.maxTimestamp && frame.lastOffsetDelta == 0)
    #expect(!frame.isEncrypted)
    try frame.verify(key: Self.key, batchHeader: header)
  }

  /// The layout on disk: a change here needs a new version (Docs/formats/frame.md).
  @Test func layoutIsTheGoldenOne() throws {
    let golden = try Data(contentsOf: Golden.folder.appendingPathComponent("frame.bin"))
    #expect(try Self.framed().frame == [UInt8](golden.prefix(Frame.size)))
  }

  @Test func anotherPlaceIsRefused() throws {
    let (bytes, header) = try Self.framed()
    let frame = try parsed(bytes)
    let topic = Self.key.topic
    let others = [
      TopicPartition(topic: topic, partition: 4), TopicPartition(topic: topic, partition: -5),
      TopicPartition(topic: TopicID(high: topic.high ^ 1, low: topic.low), partition: 5),
      TopicPartition(topic: TopicID(high: topic.low, low: topic.high), partition: 5),
    ]
    for other in others {
      #expect(throws: FrameError.badChecksum) { try frame.verify(key: other, batchHeader: header) }
    }
  }

  @Test func anotherBatchIsRefused() throws {
    let (bytes, header) = try Self.framed()
    let frame = try parsed(bytes)
    func refused(_ want: FrameError, _ change: (inout BatchHeader) -> Void) {
      var other = header
      change(&other)
      #expect(throws: want) { try frame.verify(key: Self.key, batchHeader: other) }
    }
    refused(.badChecksum) { $0.crc ^= 0x8000_0000 }
    refused(.otherBatch) { $0.baseOffset += 1 }
    refused(.otherBatch) { $0.leaderEpoch -= 1 }
    refused(.otherBatch) { $0.batchLength += 1 }
    refused(.otherBatch) { $0.lastOffsetDelta += 1 }
    refused(.otherBatch) { $0.maxTimestamp += 1 }
  }

  @Test func everyFlippedBitIsRefused() throws {
    let (bytes, header) = try Self.framed()
    for index in bytes.indices {
      for bit in 0..<8 {
        var damaged = bytes
        damaged[index] ^= 1 << bit
        #expect(throws: FrameError.self, "byte \(index), bit \(bit)") {
          try parsed(damaged).verify(key: Self.key, batchHeader: header)
        }
      }
    }
    for count in 0..<Frame.size {
      #expect(throws: FrameError.truncated(available: count)) { try parsed(Array(bytes[..<count])) }
    }
  }

  @Test func newerFormatsAreNotGuessed() throws {
    var (bytes, _) = try Self.framed()
    bytes[4] = 2
    #expect(throws: FrameError.unknownVersion(2)) { try parsed(bytes) }
    bytes[4] = 1
    bytes[5] = 0x82
    #expect(throws: FrameError.unknownFlags(0x82)) { try parsed(bytes) }
    #expect(throws: FrameError.notAFrame) { try parsed([UInt8](repeating: 0, count: 56)) }
  }

  /// Lengths and offsets on which callers do arithmetic are in range once a frame parses.
  @Test func rangesHoldBeforeVerification() throws {
    let (bytes, _) = try Self.framed()
    func refused<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
      var damaged = bytes
      put(value, at: offset, in: &damaged)
      #expect(throws: FrameError.badField) { try parsed(damaged) }
    }
    for length in [Int32.min, -1, 0, 60] { refused(length, at: 8) }
    for offset in [-1, .min, .max, Offset.limit.rawValue] as [Int64] { refused(offset, at: 16) }
    refused(Int32(-1), at: 40)
    refused(Int32(-1), at: 44)
  }
}
