import Foundation
import RecordFormat
import SkeinCore
import Testing

/// 100,000 random mutations of the golden files. `SKEIN_FUZZ_SEED` and `SKEIN_FUZZ_ROUNDS` replay
/// or lengthen a run.
@Suite struct MutationFuzzTests {
  static func setting(_ name: String, _ standard: UInt64) -> UInt64 {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) } ?? standard
  }

  @Test func mutationsNeverTrap() throws {
    let seed = Self.setting("SKEIN_FUZZ_SEED", 20_261_123)
    let rounds = Self.setting("SKEIN_FUZZ_ROUNDS", 100_000)
    print("mutation fuzz: SKEIN_FUZZ_SEED=\(seed) SKEIN_FUZZ_ROUNDS=\(rounds)")
    var random = SeededRandom(seed: seed)
    // Small ones, so that a mutation is likely to matter and the suite stays quick.
    let corpus = try Golden.names.flatMap { try Golden.batches($0) }.filter { $0.count < 1400 }
    let limits = BatchLimits(
      maxBatchBytes: 100_000, maxRecordBytes: 20_000, maxInflatedBytes: 200_000)
    var target = Target(limits: limits)
    let before = residentBytes()
    for _ in 0..<rounds {
      var bytes = corpus[random.below(corpus.count)]
      for _ in 0...random.below(4) { mutate(&bytes, corpus, &random) }
      if random.below(5) > 0 { reseal(&bytes) }
      target.feed(bytes)
    }
    let scratch = target.reader.scratchBytes
    #expect(scratch <= limits.maxInflatedBytes + 1)
    let grown = residentBytes() - before
    // Other tests of this process hold some 150 MiB at times.
    #expect(grown < 300 << 20, "resident memory grew by \(grown) bytes")
    print("mutation fuzz: \(target.accepted) accepted, \(target.read) read, \(target.records) records")
    // Shows that the mutations go deep enough to mean something.
    #expect(target.accepted > rounds / 100 && target.read > rounds / 100)
    #expect(target.read < rounds * 9 / 10)
  }

  /// Everything that takes bytes from outside.
  struct Target: ~Copyable {
    let limits: BatchLimits
    var reader: BatchReader
    var accepted = 0
    var read = 0
    var records = 0

    init(limits: BatchLimits) {
      self.limits = limits
      reader = BatchReader(limits: limits)
    }

    mutating func feed(_ input: [UInt8]) {
      input.withUnsafeBytes { bytes in
        let header = try? BatchCheck.produce(bytes, limits: limits)
        _ = try? BatchCheck.stored(bytes)
        _ = try? Frame(parsing: bytes)
        var splitter = BatchSplitter(bytes)
        while (try? splitter.next()) != nil {}
        var count = 0
        var sum = 0
        let result = try? reader.forEach(bytes, verifyingChecksum: false) { record in
          count += 1
          sum &+= Int(record.key?.last ?? 0) &+ Int(record.value?.last ?? 0)
          for header in record.headers { sum &+= header.name.count &+ (header.value?.count ?? -1) }
        }
        records += count
        if result != nil { read += 1 }
        guard let header else { return }
        accepted += 1
        // What the broker appends uncompressed, a consumer can read to the last record.
        let placeIsSound = header.baseOffset >= 0 && header.baseOffset < Offset.limit.rawValue
        if header.codec == Codec.none, placeIsSound {
          #expect(result != nil && count == Int(header.recordCount))
        }
      }
    }
  }

  private func mutate(_ bytes: inout [UInt8], _ corpus: [[UInt8]], _ random: inout SeededRandom) {
    guard !bytes.isEmpty else { return bytes.append(UInt8(random.below(256))) }
    // Half of the time in the header, which is short, else anywhere.
    let reach = random.below(2) == 0 ? min(bytes.count, BatchHeader.size) : bytes.count
    let at = random.below(reach)
    switch random.below(8) {
    case 0: bytes[at] ^= 1 << random.below(8)
    case 1: bytes[at] = UInt8(random.below(256))
    case 2: bytes[at] = ([0, 1, 0x7f, 0x80, 0xff] as [UInt8])[random.below(5)]
    case 3: bytes.remove(at: at)
    case 4: bytes.insert(UInt8(random.below(256)), at: at)
    case 5:
      let values = [Int64.min, .max, -1, 0, 1 << 31, -1 << 31, (1 << 31) - 1, 1 << 62]
      let value = varint(values[random.below(values.count)])
      bytes.replaceSubrange(at..<min(at + random.below(3), bytes.count), with: value)
    case 6:
      let width = min([2, 4, 8][random.below(3)], bytes.count - at)
      for index in at..<at + width { bytes[index] = UInt8(random.below(2) * 255) }
    default:
      let other = corpus[random.below(corpus.count)]
      let from = random.below(other.count)
      bytes.replaceSubrange(at..., with: other[from...].prefix(400))
    }
  }

  private func residentBytes() -> Int {
    let fields = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
    return (fields.flatMap { $0.count > 1 ? Int($0[1]) : nil } ?? 0) * 4096
  }
}
