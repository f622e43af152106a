import CommitLog
import DiskIO
import RecordFormat
import Simulation
import SkeinCore
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Throughput and memory of compaction on a real disk, beside a plain copy of the same files:
/// `SKEIN_COMPACTION_BENCH=<MiB> swift test -c release -Xswiftc -enable-testing --filter CompactionBenchmark`.
@Suite(.serialized) struct CompactionBenchmark {
  static let megabytes = getenv("SKEIN_COMPACTION_BENCH").flatMap { Int(String(cString: $0)) } ?? 0

  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var codec: Codec
    var keys: Int
    var memory: Int
    var testDescription: String { name }
  }

  static let cases = [
    Case(name: "none, 1 % of the records stay", codec: .none, keys: 20_000, memory: 64 << 20),
    Case(name: "none, half stay", codec: .none, keys: 1_000_000, memory: 64 << 20),
    Case(name: "none, half stay, memory for a quarter", codec: .none, keys: 1_000_000, memory: 16 << 20),
    Case(name: "zstd, half stay", codec: .zstd, keys: 1_000_000, memory: 64 << 20),
  ]

  private static func resident() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var (size, pages) = (0, 0)
    return withUnsafeMutablePointer(to: &size) { a in
      withUnsafeMutablePointer(to: &pages) { b in
        withVaList([a, b]) { vfscanf(file, "%ld %ld", $0) } == 2 ? b.pointee * 4096 : 0
      }
    }
  }

  private static func processorSeconds() -> Double { Double(clock()) / Double(CLOCKS_PER_SEC) }

  @Test(.enabled(if: megabytes > 0), arguments: cases)
  func measure(_ one: Case) throws {
    let folder = try TemporaryFolder()
    let harness = try LogHarness(disk: FileDisk(root: folder.path)) {
      $0.journal.fileSize = 32 << 20
      $0.tailBudgetBytes = 0
      $0.compactionBytes = one.memory
    }
    let log = harness.log(0, LogHarness.compacted { $0.segmentBytes = 64 << 20 })
    let records = try fill(harness, log, one)
    try harness.seal()
    let size = log.sizeInBytes
    let copied = try copy(folder.path)

    let clock = ContinuousClock()
    let before = Self.resident()
    let worked = Self.processorSeconds()
    var peak = before
    let begun = clock.now
    while true {
      let progress = try harness.directory.cleanStep(maxBytes: 1 << 20).progress
      peak = max(peak, Self.resident())
      if progress == .idle { break }
      if progress == .waiting { try harness.writeBehind() }
    }
    let seconds = (clock.now - begun) / .seconds(1)
    let processor = Self.processorSeconds() - worked
    let done = harness.directory.cleanerStatistics
    let moved = Double(done.bytesRead + done.bytesWritten) / 1e6
    print(
      "\(one.name): \(size >> 20) MiB, \(records) records, \(done.rounds) rounds, \(log.sizeInBytes >> 20) MiB left; "
        + "\(Int(Double(size) / 1e6 / seconds)) MB/s of log, read \(done.bytesRead >> 20) and wrote \(done.bytesWritten >> 20) MiB "
        + "at \(Int(moved / seconds)) MB/s; plain copy \(Int(Double(size) / 1e6 / copied)) MB/s of log, \(Int(2 * Double(size) / 1e6 / copied)) MB/s moved; "
        + "processor \(Int(moved / processor)) MB/s moved; memory +\((peak - before) >> 20) MiB")
    #expect(done.rounds > 0 && log.sizeInBytes < size)
  }

  private func fill(_ harness: LogHarness, _ log: PartitionLog, _ one: Case) throws -> Int {
    let random = SeededRandom(seed: 9)
    var builder = BatchBuilder(codec: one.codec, capacity: 64 << 10)
    // Letters: zstd makes about 60 % of them.
    let value = (0..<1 << 20).map { _ in UInt8(random.below(26) + 97) }
    var bytes = 0
    var records = 0
    while bytes < Self.megabytes << 20 {
      while builder.sizeInBytes < 64_000 {
        let key = Array("customer-\(random.below(one.keys))".utf8)
        let start = random.below(value.count - 200)
        try builder.append(key: key, value: Array(value[start..<start + 200]), timestamp: 1_700_000_000_000)
        records += 1
      }
      bytes += builder.sizeInBytes
      let batch = try builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1)
      let header = try batch.withUnsafeBytes { try BatchCheck.produce($0) }
      guard case .appended(_, _, let entry) = try log.append(batch, header: header) else { continue }
      harness.directory.submit([entry])
      try harness.flush()
      if harness.directory.unwrittenBytes > 8 << 20 { try harness.writeBehind() }
    }
    return records
  }

  /// Copies every segment to another file and syncs it; seconds.
  private func copy(_ root: String) throws -> Double {
    let disk = try FileDisk(root: root)
    let folder = "topics/\(LogHarness.topic)/0"
    let clock = ContinuousClock()
    let begun = clock.now
    let target = try disk.open("copy", .createNew)
    var end: Int64 = 0
    for entry in try disk.list(folder) where entry.name.hasSuffix(".log") {
      let source = try disk.open("\(folder)/\(entry.name)", .readOnly)
      var position: Int64 = 0
      let size = try source.size()
      while position < size {
        let chunk = SharedBytes.Storage(capacity: 1 << 20)
        let buffer = UnsafeMutableRawBufferPointer(start: chunk.base, count: 1 << 20)
        let count = try source.read(into: buffer, at: position)
        try target.write([UnsafeRawBufferPointer(rebasing: buffer[..<count])], at: end)
        position += Int64(count)
        end += Int64(count)
      }
      try target.sync()
    }
    try disk.remove("copy")
    return (clock.now - begun) / .seconds(1)
  }
}
