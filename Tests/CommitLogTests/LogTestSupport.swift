import CommitLog
import DiskIO
import RecordFormat
import Simulation
import SkeinCore
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// A log directory under test, with every seam in the test's hand.
final class LogHarness {
  let disk: any Disk
  let time: SimulatedTime
  let random: SeededRandom
  var configuration: LogConfiguration
  private(set) var directory: LogDirectory!
  static let topic = TopicID(high: 1, low: 2)

  init(
    disk: any Disk, time: SimulatedTime = SimulatedTime(), seed: UInt64 = 1,
    adjust: (inout LogConfiguration) -> Void = { _ in }
  ) throws {
    self.disk = disk
    self.time = time
    self.random = SeededRandom(seed: seed)
    var configuration = LogConfiguration(clusterID: "test")
    configuration.journal.fileSize = 256 << 10
    configuration.journal.fileCount = 4
    configuration.reserveBytes = 1 << 20
    configuration.emergencyBytes = 64 << 10
    adjust(&configuration)
    self.configuration = configuration
    self.directory = try LogDirectory.open(
      disk: disk, configuration: configuration, time: time, random: random)
  }

  /// Opens the directory again, as after a kill: nothing was closed.
  func restart() throws {
    let configuration = configuration
    // The old process is gone, its lock with it.
    directory = nil
    directory = try LogDirectory.open(disk: disk, configuration: configuration, time: time, random: random)
  }

  func log(_ partition: Int32 = 0, _ settings: PartitionSettings = PartitionSettings()) -> PartitionLog {
    directory.createPartition(TopicPartition(topic: Self.topic, partition: partition), settings: settings)
  }

  /// Flushes and applies until nothing waits.
  func flush() throws {
    while true {
      let advances = try directory.flushStep()
      for advance in advances { advance.log.apply(advance) }
      if advances.isEmpty { return }
    }
  }

  func writeBehind() throws { while try directory.writeBehindStep() {} }

  /// Everything readable from `from` on, as values.
  func readAll(_ log: PartitionLog, from: Offset? = nil, maxBytes: Int = 1 << 20) throws -> [String] {
    var next = from ?? log.logStart
    var values: [String] = []
    while true {
      switch try log.read(from: next, maxBytes: maxBytes) {
      case .atEnd: return values
      case .memory(let batches, let after):
        values += try batches.flatMap { try Self.values($0, from: next) }
        next = after
      case .file(let plan):
        let result = try directory.read(plan)
        try #require(result.next > next)
        values += try result.batches.flatMap { try Self.values($0, from: next) }
        next = result.next
      }
    }
  }

  static func values(_ batch: SharedBytes, from: Offset = .zero) throws -> [String] {
    var reader = BatchReader(limits: BatchLimits())
    var values: [String] = []
    _ = try batch.withUnsafeBytes { bytes in
      try reader.forEach(bytes) { record in
        guard record.offset >= from.rawValue else { return }
        values.append(record.value.map { String(decoding: $0, as: UTF8.self) } ?? "")
      }
    }
    return values
  }
}

/// A batch of text records as a producer would build it, checked as the broker would.
struct TestBatch {
  var bytes: SharedBytes
  var header: BatchHeader

  init(
    _ values: [String], producer: Int64 = -1, epoch: Int16 = 0, sequence: Int32 = 0,
    timestamp: Int64 = 1_700_000_000_000
  ) throws {
    var builder = BatchBuilder()
    for value in values {
      try Array(value.utf8).withUnsafeBytes {
        try builder.append(key: nil, value: $0, timestamp: timestamp)
      }
    }
    bytes = try builder.finish(
      producerID: producer, producerEpoch: producer < 0 ? -1 : epoch,
      baseSequence: producer < 0 ? -1 : sequence)
    header = try bytes.withUnsafeBytes { try BatchCheck.produce($0) }
  }
}

extension LogHarness {
  /// Appends and submits; the base offset.
  @discardableResult
  func append(_ log: PartitionLog, _ batch: TestBatch) throws -> Offset {
    guard case .appended(let base, _, let entry) = try log.append(batch.bytes, header: batch.header) else {
      throw TestFailure("not appended")
    }
    directory.submit([entry])
    return base
  }

  @discardableResult
  func append(_ log: PartitionLog, _ values: String...) throws -> Offset {
    try append(log, TestBatch(values, timestamp: time.wallMilliseconds))
  }
}

struct TestFailure: Error {
  let what: String
  init(_ what: String) { self.what = what }
}

/// A folder on the real disk, removed at the end.
final class TemporaryFolder {
  let path: String

  init() throws {
    var template = Array("/tmp/skein-log-XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { throw TestFailure("mkdtemp") }
    path = String(cString: made)
  }

  deinit {
    // The folder is ours alone, its name was made by mkdtemp.
    try? Self.removeTree(FileDisk(root: path), "")
    rmdir(path)
  }

  private static func removeTree(_ disk: FileDisk, _ folder: String) throws {
    for entry in try disk.list(folder) {
      let child = folder.isEmpty ? entry.name : "\(folder)/\(entry.name)"
      if entry.isDirectory {
        try removeTree(disk, child)
        try disk.removeDirectory(child)
      } else {
        try disk.remove(child)
      }
    }
  }
}
