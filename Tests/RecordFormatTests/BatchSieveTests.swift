import SkeinCore
import Testing

@testable import RecordFormat

/// Smaller copies of batches, as compaction makes them (Docs/formats/record-batch.md).
@Suite struct BatchSieveTests {
  private func batch(_ count: Int, codec: Codec = .none, tombstones: Bool = false) throws -> SharedBytes {
    var builder = BatchBuilder(codec: codec)
    for index in 0..<count {
      let value = tombstones && index % 3 == 0 ? nil : [UInt8](repeating: UInt8(index & 0xff), count: 50)
      try builder.append(
        key: Array("key-\(index)".utf8), value: value, timestamp: 1_700_000_000_000 + Int64(index))
    }
    var bytes = try builder.finish(producerID: 5, producerEpoch: 2, baseSequence: 100).array
    bytes.withUnsafeMutableBytes { BatchStamp.baseOffset(1_000, leaderEpoch: 9, in: $0) }
    return SharedBytes(bytes)
  }

  private func records(_ batch: SharedBytes) throws -> (BatchHeader, [String]) {
    var reader = BatchReader()
    var found: [String] = []
    let header = try batch.withUnsafeBytes { bytes in
      try reader.forEach(bytes) { record in
        let key = record.key.map { String(decoding: $0, as: UTF8.self) } ?? "-"
        found.append("\(record.offset) \(key) \(record.value?.count ?? -1) \(record.timestamp)")
      }
    }
    return (header, found)
  }

  @Test(arguments: [Codec.none, .gzip, .lz4, .zstd])
  func copiesKeepTheirPlace(codec: Codec) throws {
    let original = try batch(20, codec: codec, tombstones: true)
    var sieve = BatchSieve()
    for horizon in [nil, Int64(0), 1_700_000_500_000, 1 << 53] {
      for step in [1, 2, 3, 7, 19] {
        let outcome = try original.withUnsafeBytes {
          try sieve.sift($0, horizon: horizon) { ($0.offset - 1_000) % Int64(step) == 0 }
        }
        if step == 1, horizon == nil {
          guard case .unchanged(tombstones: true) = outcome else { throw Unexpected() }
          continue
        }
        guard case .rewritten(let copy, let hasTombstones) = outcome else { throw Unexpected() }
        let (header, found) = try records(copy)
        let all = try records(original).1
        #expect(found == stride(from: 0, to: 20, by: step).map { all[$0] })
        #expect(hasTombstones)
        #expect(header.baseOffset == 1_000 && header.leaderEpoch == 9 && header.lastOffsetDelta == 19)
        #expect(header.producerID == 5 && header.producerEpoch == 2 && header.baseSequence == 100)
        #expect(header.lastSequence == 119 && header.deleteHorizon == horizon)
        #expect(header.recordCount == Int32(found.count))
        #expect(header.maxTimestamp == 1_700_000_000_000 + Int64((19 / step) * step))
        #expect(try copy.withUnsafeBytes { try BatchCheck.stored($0) } == header)
        // Once marked, its time stands.
        let again = try copy.withUnsafeBytes { try sieve.sift($0, horizon: 77) { _ in true } }
        if horizon != nil { guard case .unchanged = again else { throw Unexpected() } }
      }
    }
  }

  private struct Unexpected: Error {}

  @Test func withoutATombstoneNothingIsMarked() throws {
    var sieve = BatchSieve()
    let outcome = try batch(5).withUnsafeBytes { try sieve.sift($0, horizon: 9) { _ in true } }
    guard case .unchanged(tombstones: false) = outcome else { throw Unexpected() }
  }

  @Test(arguments: [Codec.none, .zstd]) func allKeysAreShownAheadOfTheRecords(codec: Codec) throws {
    let original = try batch(20, codec: codec)
    var sieve = BatchSieve()
    var seen: [String] = []
    let expected = (0..<20).map { "key-\($0)" }
    for _ in 0..<2 {
      _ = try original.withUnsafeBytes { bytes in
        try sieve.sift(bytes, horizon: nil, looksAhead: true) {
          seen.append(String(decoding: $0, as: UTF8.self))
        } keep: { _ in
          seen == expected
        }
      }
      #expect(seen == expected, "and nothing is dropped")
      seen = []
      let all = try original.withUnsafeBytes { bytes in
        try sieve.forEach(bytes, looksAhead: true) {
          seen.append(String(decoding: $0, as: UTF8.self))
        } _: { _ in
          seen == expected
        }
      }
      #expect(all && seen == expected)
      seen = []
    }
  }

  @Test func nothingLeftIsSaid() throws {
    var sieve = BatchSieve()
    let outcome = try batch(5, codec: .zstd).withUnsafeBytes {
      try sieve.sift($0, horizon: nil) { _ in false }
    }
    guard case .emptied = outcome else { throw Unexpected() }
  }

  @Test func emptyBatchesAreBatches() throws {
    let (original, _) = try records(batch(4))
    let kept = BatchSieve.empty(base: 1_000, lastOffsetDelta: 3, leaderEpoch: 9, producer: original)
    let (header, found) = try records(kept)
    #expect(found.isEmpty && header.recordCount == 0 && header.nextOffset == 1_004)
    #expect(header.producerID == 5 && header.lastSequence == 103)
    let filler = BatchSieve.empty(base: 7, lastOffsetDelta: .max, leaderEpoch: 1)
    #expect(try records(filler).0.nextOffset == 7 + 1 << 31)
    #expect(filler.count == 61)
    #expect(try !records(filler).0.isIdempotent)
    // Clients may not send them.
    #expect(throws: BatchError.self) { try filler.withUnsafeBytes { try BatchCheck.produce($0) } }
  }

  /// `forEach` shows all records or none: half a batch must not supersede anything.
  @Test func whatDoesNotParseIsNotShown() throws {
    var bytes = try batch(5).array
    bytes[bytes.count - 1] = 0x7f
    var sieve = BatchSieve()
    var seen = 0
    #expect(throws: BatchError.self) {
      try SharedBytes(bytes).withUnsafeBytes {
        try sieve.forEach($0) { _ in
          seen += 1
          return true
        }
      }
    }
    #expect(seen == 0)
  }

  /// Any bytes: an error or an outcome, never a trap.
  @Test func mutationsNeverTrap() throws {
    var sieve = BatchSieve()
    let originals = try [
      batch(8, tombstones: true), batch(8, codec: .lz4, tombstones: true), batch(8, codec: .zstd),
    ]
    var state: UInt64 = 88
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    for round in 0..<6_000 {
      var bytes = originals[round % originals.count].array
      for _ in 0..<1 + random(4) { bytes[12 + random(bytes.count - 12)] = UInt8(random(256)) }
      SharedBytes(bytes).withUnsafeBytes { bytes in
        _ = try? sieve.forEach(bytes) { _ in true }
        _ = try? sieve.sift(bytes, horizon: Int64(random(1 << 30))) { _ in random(2) == 0 }
      }
    }
  }

  @Test func recordsWithoutKeysAreNamed() throws {
    for codec in [Codec.none, .zstd] {
      var builder = BatchBuilder(codec: codec)
      for index in 0..<3 {
        try builder.append(
          key: index == 2 ? nil : [], value: [UInt8](repeating: 1, count: 400), timestamp: 1_700_000_000_000)
      }
      let batch = try builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1)
      #expect(throws: BatchError.keyMissing(index: 2)) {
        try batch.withUnsafeBytes { try BatchCheck.keys($0) }
      }
    }
    try batch(3).withUnsafeBytes { try BatchCheck.keys($0) }
  }
}
