import RecordFormat
import SkeinCore
import Testing

@Suite struct PreparedRecordsTests {
  private struct Sample {
    var key: [UInt8]?
    var value: [UInt8]?
    var headers = RecordHeaders()
    var timestamp: Int64

    func prepare(_ prepared: inout PreparedRecords) {
      withBytes(key) { key in
        withBytes(value) { value in
          headers.withSequence { headers in
            prepared.append(key: key, value: value, headers: headers, timestamp: timestamp)
          }
        }
      }
    }

    private func withBytes(_ bytes: [UInt8]?, _ body: (UnsafeRawBufferPointer?) -> Void) {
      guard let bytes else { return body(nil) }
      bytes.withUnsafeBytes {
        body(
          $0.baseAddress == nil
            ? UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: 16), count: 0) : $0)
      }
    }
  }

  private func samples(_ random: inout SeededRandom, _ count: Int) throws -> [Sample] {
    try (0..<count).map { number in
      func bytes(_ limit: Int) -> [UInt8]? {
        random.below(5) == 0 ? nil : (0..<random.below(limit)).map { UInt8(truncatingIfNeeded: $0 + number) }
      }
      var sample = Sample(
        key: bytes(40), value: bytes(random.below(10) == 0 ? 3000 : 200),
        timestamp: Int64(random.next() >> (1 + UInt64(random.below(63)))))
      for name in ["a", "größe"].prefix(random.below(3)) {
        try sample.headers.append(name: name, value: bytes(20))
      }
      return sample
    }
  }

  @Test func theBatchIsTheSameByteForByte() throws {
    var random = SeededRandom(seed: 5)
    var prepared = PreparedRecords(records: 1, keyBytes: 1, tailBytes: 1)
    for round in 0..<40 {
      prepared.recycle()
      let samples = try samples(&random, 1 + random.below(100))
      var direct = BatchBuilder(capacity: 1)
      var copied = BatchBuilder(capacity: 1)
      for sample in samples {
        try direct.append(
          key: sample.key, value: sample.value, headers: sample.headers, timestamp: sample.timestamp)
        sample.prepare(&prepared)
      }
      let cut = random.below(samples.count)
      let all = prepared.all
      for part in [all[..<cut], all[cut...]] {
        let (taken, bytes) = copied.append(
          UnsafeBufferPointer(rebasing: part), of: prepared, room: .max, overhead: 7)
        #expect(taken == part.count && bytes == part.reduce(0) { $0 + $1.sizeInBytes + 7 })
      }
      let (expected, got) = (try direct.finish().array, try copied.finish().array)
      #expect(got == expected, "round \(round)")
    }
  }

  @Test func thePartsReadBack() throws {
    var random = SeededRandom(seed: 6)
    var prepared = PreparedRecords(records: 1, keyBytes: 1, tailBytes: 1)
    var samples = try samples(&random, 300)
    samples[0] = Sample(key: [], value: nil, timestamp: 0)
    try samples[0].headers.append(name: "only", value: nil)
    for sample in samples { sample.prepare(&prepared) }
    let keys = prepared.keys.array
    #expect(keys == samples.flatMap { $0.key ?? [] })
    for (index, sample) in samples.enumerated() {
      let record = prepared.all[index]
      #expect(record.timestamp == sample.timestamp)
      prepared.withParts(of: record) { key, value, headers in
        #expect(key.map(Array.init) == sample.key && value.map(Array.init) == sample.value)
        #expect(RecordHeaders(copying: headers) == sample.headers)
      }
    }
  }

  @Test func aBatchTakesWhatFitsAndNothingInPart() throws {
    var prepared = PreparedRecords(records: 8, keyBytes: 8, tailBytes: 8)
    for number in 0..<10 {
      Sample(key: [UInt8(number)], value: [UInt8](repeating: 1, count: 97), timestamp: 5).prepare(&prepared)
    }
    let size = prepared.all[0].sizeInBytes
    var builder = BatchBuilder(limits: BatchLimits(maxBatchBytes: 600, maxRecords: 100))
    func add(_ builder: inout BatchBuilder, _ prepared: borrowing PreparedRecords, room: Int) -> Int {
      let (taken, bytes) = builder.append(prepared.all, of: prepared, room: room, overhead: 0)
      #expect(bytes == taken * size)
      return taken
    }
    let fits = add(&builder, prepared, room: size * 3)
    let none = add(&builder, prepared, room: 1)
    // The batch's own limit.
    let rest = add(&builder, prepared, room: .max)
    #expect((fits, none, rest) == (3, 0, 2))
    let batch = try builder.finish()
    #expect(batch.count <= 600)
    #expect(try read(batch.array, BatchLimits()) == 5)
    let first = add(&builder, prepared, room: 1)
    #expect(first == 1, "an empty one takes one")
    var few = BatchBuilder(limits: BatchLimits(maxRecords: 4))
    let most = add(&few, prepared, room: .max)
    #expect(most == 4)
  }
}
