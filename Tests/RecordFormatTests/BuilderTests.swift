import RecordFormat
import SkeinCore
import Testing

@Suite struct BuilderTests {
  @Test func refusalsLeaveTheBatchAsItWas() throws {
    let limits = BatchLimits(maxBatchBytes: 200, maxRecordBytes: 100, maxRecords: 3, maxHeaders: 1)
    var builder = BatchBuilder(limits: limits)
    #expect(throws: BatchError.emptyBatch) { _ = try builder.finish() }
    try builder.append(key: nil, value: [1], timestamp: 5)
    let size = builder.sizeInBytes
    let big = [UInt8](repeating: 0, count: 101)
    #expect(throws: BatchError.recordTooLarge(index: 1, size: 101, limit: 100)) {
      try builder.append(key: nil, value: big, timestamp: 5)
    }
    #expect(throws: BatchError.timestampInvalid(-1)) {
      try builder.append(key: nil, value: [1], timestamp: -1)
    }
    var headers = RecordHeaders()
    try headers.append(name: "a", value: nil)
    try headers.append(name: "b", value: nil)
    #expect(throws: BatchError.tooManyHeaders(2, limit: 1)) {
      try builder.append(key: nil, value: [1], headers: headers, timestamp: 5)
    }
    try builder.append(key: nil, value: [UInt8](repeating: 0, count: 80), timestamp: 5)
    #expect(throws: BatchError.batchTooLarge(size: 257, limit: 200)) {
      try builder.append(key: nil, value: [UInt8](repeating: 0, count: 90), timestamp: 5)
    }
    #expect(size < builder.sizeInBytes)
    try builder.append(key: nil, value: nil, timestamp: 5)
    #expect(throws: BatchError.tooManyRecords(4, limit: 3)) {
      try builder.append(key: nil, value: nil, timestamp: 5)
    }
    let count = builder.count
    #expect(count == 3)
    let batch = try builder.finish()
    #expect(try read(batch.array, limits) == 3)
    let isEmpty = builder.isEmpty
    #expect(isEmpty)
  }

  /// A batch whose size was predicted has that size, whatever the widths of its varints.
  @Test func sizeIsExact() throws {
    var random = SeededRandom(seed: 11)
    var builder = BatchBuilder(capacity: 1)
    for _ in 0..<200 {
      for _ in 0...random.below(20) {
        let key = [UInt8](repeating: 1, count: random.below(3) == 0 ? 0 : random.below(300))
        let value = [UInt8](repeating: 2, count: 1 << random.below(12))
        try builder.append(
          key: random.below(4) == 0 ? nil : key, value: value,
          timestamp: Int64(random.next() >> (1 + UInt64(random.below(63)))))
      }
      let size = builder.sizeInBytes
      let batch = try builder.finish()
      #expect(batch.count == size)
      #expect(throws: Never.self) { try produce(batch.array) }
    }
  }

  /// Compression that does not pay, or would not be let in by a reader, is not used.
  @Test(arguments: [Codec.gzip, .lz4, .zstd])
  func codecIsUsedOnlyWhereItHelps(_ codec: Codec) throws {
    var random = SeededRandom(seed: 3)
    let noise = (0..<1000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    let zeros = [UInt8](repeating: 0, count: 100_000)
    func built(_ value: [UInt8], _ limits: BatchLimits) throws -> BatchHeader {
      var builder = BatchBuilder(codec: codec, limits: limits)
      try builder.append(key: nil, value: value, timestamp: 5)
      let batch = try builder.finish()
      #expect(try read(batch.array, limits) == 1)
      return try batch.withUnsafeBytes { try BatchCheck.produce($0) }
    }
    #expect(try built(noise, BatchLimits()).codec == Codec.none)
    #expect(try built(zeros, BatchLimits()).codec == codec)
    #expect(try built(zeros, BatchLimits(maxRatio: 20, ratioFreeBytes: 100)).codec == Codec.none)
  }

  @Test func headerNamesAreText() throws {
    var headers = RecordHeaders()
    #expect(throws: BatchError.badHeaderName) { try headers.append(name: "a\0b", value: nil) }
    for bytes in [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe5, 0xa4]]
      as [[UInt8]]
    {
      #expect(throws: BatchError.badHeaderName) {
        try bytes.withUnsafeBytes { try headers.append(name: $0, value: nil) }
      }
    }
    let isEmpty = headers.isEmpty
    #expect(isEmpty)
    try headers.append(name: "größe-大", value: [])
    #expect(headers.withSequence { $0.map(\.nameText) } == ["größe-大"])
  }

  @Test func splitterStopsWhereTheRunIsCut() throws {
    let run = try Golden.bytes("run")
    let ends =
      [0]
      + run.withUnsafeBytes { bytes in
        var splitter = BatchSplitter(bytes)
        var ends: [Int] = []
        while let batch = try? splitter.next() { ends.append(batch.range.upperBound) }
        return ends
      }
    #expect(ends.count == 5 && ends.last == run.count)
    for cut in 0...run.count {
      run[..<cut].withUnsafeBytes { bytes in
        var splitter = BatchSplitter(bytes)
        var failed = false
        do { while try splitter.next() != nil {} } catch { failed = true }
        #expect(failed == !ends.contains(cut))
        #expect(splitter.consumed == ends.last { $0 <= cut })
      }
    }
  }
}
