import RecordFormat
import SkeinCore
import Testing

/// Each rule of the produce side, broken alone.
@Suite struct BatchCheckTests {
  /// attributes, timestamp delta, offset delta, null key, empty value, no headers.
  static let minimal: [UInt8] = [0, 0, 0, 1, 0, 0]

  private func expect(
    _ want: BatchError, _ reason: Reason, from bytes: [UInt8], _ limits: BatchLimits = BatchLimits(),
    location: SourceLocation = #_sourceLocation
  ) {
    #expect(throws: want, sourceLocation: location) { try produce(bytes, limits) }
    #expect(want.fault.reason == reason, sourceLocation: location)
  }

  private func expect(
    _ flaw: RecordFlaw, record body: [UInt8], location: SourceLocation = #_sourceLocation
  ) {
    let bytes = batch(records: record(body))
    expect(.badRecord(index: 0, flaw: flaw), .batchCorrupt, from: bytes, location: location)
  }

  @Test func aMinimalBatchPasses() throws {
    try produce(batch(records: record(Self.minimal)))
    #expect(try read(batch(records: record(Self.minimal))) == 1)
  }

  @Test func attributesThatAreNotAProducers() {
    let records = record(Self.minimal)
    expect(.controlBatch, .batchInvalid, from: batch(records: records, attributes: 0x20))
    expect(.transactionalBatch, .batchInvalid, from: batch(records: records, attributes: 0x10))
    expect(.appendTimeSet, .batchInvalid, from: batch(records: records, attributes: 0x08))
    for bit in 6..<16 {
      let attributes = Int16(truncatingIfNeeded: 1 << bit)
      expect(
        .unknownAttributes(attributes), .batchInvalid,
        from: batch(records: records, attributes: attributes))
    }
    for codec: Int16 in [5, 6, 7] {
      expect(
        .unsupportedCodec(codec), .batchInvalid, from: batch(records: records, attributes: codec))
    }
  }

  @Test func countsThatDoNotAgree() {
    let records = record(Self.minimal)
    expect(.emptyBatch, .batchInvalid, from: batch(records: [], count: 0))
    expect(.emptyBatch, .batchInvalid, from: batch(records: records, count: -5))
    expect(.emptyBatch, .batchInvalid, from: batch(records: records, count: .min))
    var bytes = batch(records: records)
    put(Int32.max, at: 23, in: &bytes)
    reseal(&bytes)
    expect(.badCounts(records: 1, lastOffsetDelta: .max), .batchInvalid, from: bytes)
    expect(
      .tooManyRecords(Int(Int32.max), limit: 1 << 20), .batchInvalid,
      from: batch(records: records, count: .max))
    expect(
      .badRecord(index: 1, flaw: .truncated), .batchCorrupt, from: batch(records: records, count: 2))
    expect(
      .badRecord(index: 1, flaw: .moreThanCounted), .batchCorrupt, from: batch(records: records + [0]))
    #expect(throws: BatchError.badRecord(index: 1, flaw: .moreThanCounted)) {
      try read(batch(records: records + [0]))
    }
  }

  @Test func lengthsThatDoNotFit() {
    var bytes = batch(records: record(Self.minimal))
    let size = bytes.count
    put(Int32(size - 12 - 1), at: 8, in: &bytes)
    expect(.trailingBytes(1), .batchCorrupt, from: bytes)
    put(Int32(size - 12 + 1), at: 8, in: &bytes)
    expect(.truncated(needed: size + 1, available: size), .batchCorrupt, from: bytes)
    for length in [Int32.min, -1, 0, 48] {
      put(length, at: 8, in: &bytes)
      expect(.badLength(length), .batchCorrupt, from: bytes)
    }
    put(Int32.max, at: 8, in: &bytes)
    expect(.truncated(needed: 12 + Int(Int32.max), available: size), .batchCorrupt, from: bytes)
    bytes[16] = 1
    expect(.badMagic(1), .batchCorrupt, from: bytes)
    let limits = BatchLimits(maxBatchBytes: 67)
    expect(
      .batchTooLarge(size: 68, limit: 67), .batchTooLarge,
      from: batch(records: record(Self.minimal)), limits)
  }

  @Test func timestamps() {
    let records = record(Self.minimal)
    expect(
      .maxTimestampWrong(stored: 1001, actual: 1000), .batchInvalid,
      from: batch(records: records, maxTimestamp: 1001))
    expect(
      .timestampInvalid(-1), .timestampInvalid, from: batch(records: records, baseTimestamp: -1))
    expect(
      .timestampInvalid(-1), .timestampInvalid, from: batch(records: records, maxTimestamp: -1))
    let early = record([0] + varint(-1001) + [0, 1, 0, 0])
    expect(.timestampInvalid(-1), .timestampInvalid, from: batch(records: early))
    let overflow = record([0] + varint(.max) + [0, 1, 0, 0])
    expect(.badRecord(index: 0, flaw: .timestamp), .batchCorrupt, from: batch(records: overflow))
    // R60: the broker's bound.
    let bytes = batch(records: records)
    bytes.withUnsafeBytes { bytes in
      #expect(throws: BatchError.timestampInvalid(1000)) {
        try BatchCheck.produce(bytes, latestTimestamp: 999)
      }
      #expect(throws: Never.self) { try BatchCheck.produce(bytes, latestTimestamp: 1000) }
    }
  }

  @Test func producerFields() throws {
    func with(_ id: Int64, _ epoch: Int16, _ sequence: Int32) -> [UInt8] {
      var bytes = batch(records: record(Self.minimal))
      put(id, at: 43, in: &bytes)
      put(epoch, at: 51, in: &bytes)
      put(sequence, at: 53, in: &bytes)
      reseal(&bytes)
      return bytes
    }
    try produce(with(5, 0, 0))
    try produce(with(-1, -1, -1))
    for (id, epoch, sequence) in [(5, -1, 0), (5, 0, -1), (-2, 0, 0)] as [(Int64, Int16, Int32)] {
      expect(
        .badSequence(producerEpoch: epoch, baseSequence: sequence), .batchInvalid,
        from: with(id, epoch, sequence))
    }
  }

  @Test func recordsThatDoNotParse() {
    let huge: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0x0f]
    expect(.truncated, record: [])
    expect(.truncated, record: [0, 0, 0, 1, 0])
    expect(.trailingBytes, record: Self.minimal + [0])
    expect(.attributes, record: [1, 0, 0, 1, 0, 0])
    expect(.offsetDelta, record: [0, 0, 2, 1, 0, 0])
    expect(.offsetDelta, record: [0, 0, 1, 1, 0, 0])
    expect(.negativeLength, record: [0, 0, 0, 3, 0, 0])  // key of -2
    expect(.negativeLength, record: [0, 0, 0, 1, 3, 0])  // value of -2
    expect(.negativeLength, record: [0, 0, 0, 1, 0, 1])  // -1 headers
    expect(.negativeLength, record: [0, 0, 0] + huge + [0, 0])
    expect(.truncated, record: [0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0])
    expect(.truncated, record: [0, 0, 0, 4, 0, 0])
    expect(.badVarint, record: [0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0])
    expect(.badVarint, record: [0] + [UInt8](repeating: 0xff, count: 10) + [0, 1, 0, 0])
    expect(.badVarint, record: [0] + [UInt8](repeating: 0x80, count: 9) + [2, 0, 1, 0, 0])
    // Headers: name of -1, not UTF-8, an overlong "/", a NUL, a value of -2, one that is not there.
    expect(.negativeLength, record: [0, 0, 0, 1, 0, 2, 1, 0])
    expect(.headerName, record: [0, 0, 0, 1, 0, 2, 2, 0xff, 0])
    expect(.headerName, record: [0, 0, 0, 1, 0, 2, 4, 0xc0, 0xaf, 0])
    expect(.headerName, record: [0, 0, 0, 1, 0, 2, 2, 0, 0])
    expect(.negativeLength, record: [0, 0, 0, 1, 0, 2, 2, 0x61, 3])
    expect(.truncated, record: [0, 0, 0, 1, 0, 4, 2, 0x61, 0])
    let negative = batch(records: varint(-1) + Self.minimal)
    expect(.badRecord(index: 0, flaw: .negativeLength), .batchCorrupt, from: negative)
    let tooLong = batch(records: varint(Int64(Int32.max)) + Self.minimal)
    expect(.badRecord(index: 0, flaw: .truncated), .batchCorrupt, from: tooLong)
  }

  /// Padded varints are what some encoders write; they carry the same number.
  @Test func overlongVarintsAreAccepted() throws {
    let padded: [UInt8] = [0, 0x80, 0x80, 0x00, 0x80, 0x00, 0x81, 0x00, 0x80, 0x80, 0x80, 0x80, 0x00, 0]
    try produce(batch(records: record(padded)))
  }

  @Test func limitsOfRecords() throws {
    let limits = BatchLimits(maxRecordBytes: 10, maxHeaders: 2)
    func keyed(_ count: Int) -> [UInt8] {
      batch(
        records: record([0, 0, 0] + varint(Int64(count)) + [UInt8](repeating: 7, count: count) + [1, 0]))
    }
    try produce(keyed(10), limits)
    expect(
      .recordTooLarge(index: 0, size: 11, limit: 10), .recordTooLarge, from: keyed(11), limits)
    let headers: [UInt8] = [0, 0, 0, 1, 1] + varint(3) + [0, 1, 0, 1, 0, 1]
    expect(
      .tooManyHeaders(3, limit: 2), .batchInvalid, from: batch(records: record(headers)), limits)
    let many: [UInt8] = [0, 0, 0, 1, 1] + varint(Int64(Int32.max))
    expect(
      .tooManyHeaders(Int(Int32.max), limit: 2), .batchInvalid, from: batch(records: record(many)),
      limits)
  }

  /// Every refusal can be told to a person.
  @Test func faultsNameTheirNumbers() {
    let fault = BatchError.recordTooLarge(index: 3, size: 11, limit: 10).fault
    #expect(fault.metadata == ["size": "11", "limit": "10"])
    #expect(fault.message.contains("record 3") && fault.message.contains("11"))
    #expect(fault.reason.outcome == .definite)
  }

  /// The stored side takes what brokers make: control batches, gaps, no records at all.
  @Test func storedBatchesMayHaveGaps() throws {
    let first = record([0, 0, 6, 1, 0, 0])
    let second = record([0, 0, 18, 1, 0, 0])
    var bytes = batch(records: first + second, count: 2)
    put(Int32(12), at: 23, in: &bytes)
    put(Int64(500), at: 0, in: &bytes)
    reseal(&bytes)
    var offsets: [Int64] = []
    var reader = BatchReader()
    let header = try bytes.withUnsafeBytes { try reader.forEach($0) { offsets.append($0.offset) } }
    #expect(offsets == [503, 509] && header.nextOffset == 513)
    #expect(throws: BatchError.self) { try produce(bytes) }

    // Deltas that fall back, or leave the batch, are refused on the way.
    var backwards = batch(records: second + first, count: 2)
    put(Int32(12), at: 23, in: &backwards)
    reseal(&backwards)
    #expect(throws: BatchError.badRecord(index: 1, flaw: .offsetDelta)) { try read(backwards) }
    put(Int32(8), at: 23, in: &bytes)
    reseal(&bytes)
    #expect(throws: BatchError.badRecord(index: 1, flaw: .offsetDelta)) { try read(bytes) }

    var empty = batch(records: [], count: 0)
    put(Int32(4), at: 23, in: &empty)
    reseal(&empty)
    #expect(try read(empty) == 0)
    for base in [-1, Offset.limit.rawValue, .max, .min] as [Int64] {
      put(base, at: 0, in: &empty)
      #expect(throws: BatchError.badOffset(base)) { try stored(empty) }
    }
  }
}
