import RecordFormat
import SkeinCore
import Testing

/// Damage and malice: every input is refused or read, never a trap, and never more memory than the
/// limits allow.
@Suite struct HostileTests {
  /// Bytes that the CRC does not cover and that nothing else in the batch repeats: base offset and
  /// leader epoch. The frame guards them on disk (FrameTests).
  static let unguarded = Set(0..<8).union(12..<16)

  @Test(arguments: Golden.names)
  func everyTruncationIsRefused(_ name: String) throws {
    for batch in try Golden.batches(name) {
      for count in 0..<batch.count {
        let cut = Array(batch[..<count])
        #expect(throws: BatchError.self) { try produce(cut) }
        #expect(throws: BatchError.self) { try stored(cut) }
        #expect(throws: BatchError.self) { try read(cut) }
      }
    }
  }

  /// Truncated with length and CRC made right again: the parser alone stands in the way.
  @Test(arguments: Golden.names)
  func everyResealedTruncationIsRefused(_ name: String) throws {
    for batch in try Golden.batches(name) where batch.count < 2000 && name != "control" {
      for count in BatchHeader.size..<batch.count {
        var cut = Array(batch[..<count])
        reseal(&cut)
        #expect(throws: BatchError.self) { try read(cut) }
      }
    }
  }

  @Test(arguments: Golden.names)
  func everyFlippedByteIsRefused(_ name: String) throws {
    for batch in try Golden.batches(name) {
      var damaged = batch
      for index in batch.indices where !Self.unguarded.contains(index) {
        for mask: UInt8 in [0x01, 0x10, 0x80, 0xff] {
          damaged[index] = batch[index] ^ mask
          let accepted = (try? stored(damaged)) != nil
          if accepted { Issue.record("byte \(index) of \(name) flipped by \(mask) was accepted") }
        }
        damaged[index] = batch[index]
      }
    }
  }

  /// A batch of `codec` that inflates to `size` zeros.
  private func bomb(_ codec: Codec, inflated size: Int) throws -> [UInt8] {
    var builder = BatchBuilder(codec: codec, limits: BatchLimits(maxInflatedBytes: 1 << 30))
    try builder.append(key: nil, value: [UInt8](repeating: 0, count: size), timestamp: 5)
    let bytes = try builder.finish().array
    try #require(bytes.count < size / 50)
    return bytes
  }

  @Test(arguments: [Codec.gzip, .lz4, .zstd])
  func bombsStopAtTheOutputCap(_ codec: Codec) throws {
    let bytes = try bomb(codec, inflated: 8_000_000)
    let compressed = bytes.count - BatchHeader.size
    try produce(bytes)  // not inflated, so accepted
    let limits = BatchLimits(maxInflatedBytes: 1_000_000)
    #expect(throws: BatchError.inflatesTooLarge(compressed: compressed, limit: 1_000_000)) {
      try read(bytes, limits)
    }
    var reader = BatchReader(limits: limits)
    bytes.withUnsafeBytes { bytes in
      for _ in 0..<100 { #expect(throws: BatchError.self) { _ = try reader.forEach(bytes) { _ in } } }
    }
    let scratch = reader.scratchBytes
    #expect(scratch <= 1_000_001)
    #expect(try read(bytes) == 1)
  }

  @Test(arguments: [Codec.gzip, .lz4, .zstd])
  func bombsStopAtTheRatio(_ codec: Codec) throws {
    let bytes = try bomb(codec, inflated: 2_000_000)
    let compressed = bytes.count - BatchHeader.size
    let limits = BatchLimits(maxRatio: 50, ratioFreeBytes: 10_000)
    let allowed = max(10_000, compressed * 50)
    #expect(throws: BatchError.inflatesTooLarge(compressed: compressed, limit: allowed)) {
      try read(bytes, limits)
    }
    #expect(try read(bytes, BatchLimits(maxRatio: 1, ratioFreeBytes: 2_000_100)) == 1)
  }

  /// The cap is exact: what inflates to it passes, one byte less does not.
  @Test(arguments: [Codec.gzip, .lz4, .zstd])
  func theCapIsExact(_ codec: Codec) throws {
    for size in [1000, 65_536, 65_537, 300_000] {
      let bytes = try bomb(codec, inflated: size + 10_000)
      let records = size + 10_000 + 7 + varint(Int64(size + 10_000)).count - 1 + 3 - 1
      #expect(try read(bytes, BatchLimits(maxInflatedBytes: records)) == 1)
      #expect(throws: BatchError.self) { try read(bytes, BatchLimits(maxInflatedBytes: records - 1)) }
    }
  }

  /// After a huge batch the reader gives its memory back.
  @Test func scratchIsReturned() throws {
    let bytes = try bomb(.zstd, inflated: 8_000_000)
    var reader = BatchReader()
    try bytes.withUnsafeBytes { _ = try reader.forEach($0) { _ in } }
    let scratch = reader.scratchBytes
    #expect(scratch <= 4 << 20)

    var strict = BatchReader(limits: BatchLimits(maxInflatedBytes: 7_999_999))
    #expect(throws: BatchError.self) {
      try bytes.withUnsafeBytes { _ = try strict.forEach($0) { _ in } }
    }
    let afterRefusal = strict.scratchBytes
    #expect(afterRefusal <= 4 << 20)
  }

  /// A zstd frame that claims 2^60 bytes of content and a window to match costs nothing.
  @Test func claimedSizesAreNotBelieved() throws {
    // Magic, single segment with an 8-byte content size, that size, one empty last raw block.
    let frame: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01, 0, 0]
    let bytes = batch(records: frame, attributes: 4)
    var reader = BatchReader()
    bytes.withUnsafeBytes { bytes in
      _ = #expect(throws: BatchError.self) { _ = try reader.forEach(bytes) { _ in } }
    }
    let scratch = reader.scratchBytes
    #expect(scratch <= 64 * 1024)
  }

  @Test func compressedRubbishIsRefused() throws {
    for attributes: Int16 in [1, 2, 3, 4] {
      let rubbish: [[UInt8]] = [
        [], [0], [UInt8](repeating: 0xff, count: 100), Array("not compressed at all".utf8),
      ]
      for records in rubbish {
        #expect(throws: BatchError.self) { try read(batch(records: records, attributes: attributes)) }
      }
    }
    for attributes: Int16 in [5, 6, 7] {
      #expect(throws: BatchError.unsupportedCodec(attributes)) {
        try read(batch(records: [0], attributes: attributes))
      }
    }
  }

  /// A snappy block that claims more than its bytes can hold, and xerial blocks whose lengths lie, cost
  /// nothing and are refused; what is left out at any end is noticed.
  @Test func snappyLengthsAreNotBelieved() throws {
    let magic: [UInt8] = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    let liars: [[UInt8]] = [
      [0xff, 0xff, 0xff, 0x7f, 0x00, 0x61],  // a raw block of 256 MiB from one byte
      [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61],  // 4 GiB
      [0x80, 0x80, 0x80, 0x01, 0x00, 0x61],  // 2 MiB: within every limit, but not within the bytes
      magic, Array(magic[..<9]), magic + [0, 0, 0], magic + [0, 0, 0, 0],
      magic + [0x7f, 0xff, 0xff, 0xff, 1, 0, 0x61], magic + [0xff, 0xff, 0xff, 0xff, 1, 0, 0x61],
      magic + [0, 0, 0, 6, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x61],
    ]
    for records in liars {
      let bytes = batch(records: records, attributes: 2)
      var reader = BatchReader()
      bytes.withUnsafeBytes { bytes in
        _ = #expect(throws: BatchError.self, "\(records)") { _ = try reader.forEach(bytes) { _ in } }
      }
      let scratch = reader.scratchBytes
      #expect(scratch <= 64 * 1024)
    }
  }

  @Test(arguments: ["lz4", "lz4-linked", "snappy-raw", "snappy-xerial", "gzip", "zstd"])
  func truncatedStreamsAreRefused(_ name: String) throws {
    let bytes = try Golden.bytes(name)
    for cut in [1, 2, 5, (bytes.count - BatchHeader.size) / 2, bytes.count - BatchHeader.size - 1] {
      var short = Array(bytes.dropLast(cut))
      put(Int32(short.count - 12), at: 8, in: &short)
      reseal(&short)
      #expect(throws: BatchError.self, "\(name) without its last \(cut) bytes") { try read(short) }
    }
  }

  /// The caps of the other codecs hold for snappy, which is only read: 72,000 bytes in three blocks.
  @Test(arguments: ["snappy-xerial", "lz4-linked"])
  func capsHoldOverSeveralBlocks(_ name: String) throws {
    let bytes = try Golden.bytes(name)
    let compressed = bytes.count - BatchHeader.size
    for limit in [1_000, 33_000, 66_000] {
      #expect(throws: BatchError.inflatesTooLarge(compressed: compressed, limit: limit)) {
        try read(bytes, BatchLimits(maxInflatedBytes: limit))
      }
    }
    #expect(try read(bytes, BatchLimits(maxInflatedBytes: 90_000)) > 0)
  }

  /// Two gzip members, two frames of zstd or LZ4, or two streams of snappy-java, are one stream (RFC 1952,
  /// RFC 8878).
  @Test func concatenatedStreamsAreOne() throws {
    for name in ["gzip", "lz4", "lz4-linked", "snappy-xerial", "zstd"] {
      let bytes = try Golden.bytes(name)
      let want = try Golden.expectation(name).batches[0]
      var doubled = bytes + bytes[BatchHeader.size...]
      put(want.count * 2, at: 57, in: &doubled)
      put(want.count * 2 - 1, at: 23, in: &doubled)
      reseal(&doubled)
      // The second half's offset deltas start again: exactly there it is refused.
      #expect(throws: BatchError.badRecord(index: Int(want.count), flaw: .offsetDelta)) {
        try read(doubled)
      }
    }
  }
}
