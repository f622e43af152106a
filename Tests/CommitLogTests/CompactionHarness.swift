import CommitLog
import RecordFormat
import Simulation
import SkeinCore
import Testing

/// A record with a key, as tests of compaction write and read it.
struct KeyedRecord: Equatable, CustomStringConvertible {
  var offset: Int64 = -1
  var key: String?
  var value: String?
  var timestamp: Int64 = 1_700_000_000_000
  var headers: [String] = []

  init(_ key: String?, _ value: String?, timestamp: Int64 = 1_700_000_000_000, headers: [String] = []) {
    self.key = key
    self.value = value
    self.timestamp = timestamp
    self.headers = headers
  }

  var description: String { "\(offset): \(key ?? "-")=\((value ?? "-").prefix(12))" }
}

extension LogHarness {
  static func compacted(_ adjust: (inout PartitionSettings) -> Void = { _ in }) -> PartitionSettings {
    var settings = PartitionSettings()
    settings.isCompacted = true
    settings.isRetained = false
    settings.minimumDirtyRatio = 0
    settings.segmentBytes = 4000
    settings.segmentMilliseconds = 60_000
    settings.tombstoneMilliseconds = 1_000_000
    adjust(&settings)
    return settings
  }

  /// Appends one batch and flushes; its base offset.
  @discardableResult
  func append(
    _ log: PartitionLog, _ records: [KeyedRecord], codec: Codec = .none, producer: Int64 = -1,
    epoch: Int16 = 0,
    sequence: Int32 = 0
  ) throws -> Offset {
    var builder = BatchBuilder(codec: codec)
    for record in records {
      var headers = RecordHeaders()
      for name in record.headers { try headers.append(name: name, value: Array(name.utf8)) }
      try Self.bytes(record.key) { key in
        try Self.bytes(record.value) { value in
          try headers.withSequence {
            try builder.append(key: key, value: value, headers: $0, timestamp: record.timestamp)
          }
        }
      }
    }
    let bytes = try builder.finish(
      producerID: producer, producerEpoch: producer < 0 ? -1 : epoch,
      baseSequence: producer < 0 ? -1 : sequence)
    let header = try bytes.withUnsafeBytes { try BatchCheck.produce($0) }
    guard case .appended(let base, _, let entry) = try log.append(bytes, header: header) else {
      throw TestFailure("not appended")
    }
    directory.submit([entry])
    try flush()
    while directory.isFlushBlocked {
      try writeBehind()
      try flush()
    }
    return base
  }

  private static func bytes(_ text: String?, _ body: (UnsafeRawBufferPointer?) throws -> Void) throws {
    guard let text else { return try body(nil) }
    try Array(text.utf8).withUnsafeBytes { try body($0) }
  }

  /// Everything appended is in sealed segments, and a checkpoint knows them.
  func seal() throws {
    directory.requestRound(recycle: true)
    try writeBehind()
    time.advance(milliseconds: 60_001)
    _ = try directory.maintenanceStep()
    try flush()
    directory.requestRound(recycle: true)
    try writeBehind()
  }

  /// Cleans until nothing is due; rounds that ended.
  @discardableResult
  func clean(maxBytes: Int = 1 << 20) throws -> Int {
    let before = directory.cleanerStatistics.rounds
    for _ in 0..<100_000 {
      let step = try directory.cleanStep(maxBytes: maxBytes)
      if let damage = step.damage { throw TestFailure("damage: \(damage.why)") }
      if step.progress == .idle { return directory.cleanerStatistics.rounds - before }
      if step.progress == .waiting { try writeBehind() }
    }
    throw TestFailure("the cleaner does not end")
  }

  /// Every readable record, and the headers of the batches that were read.
  func records(_ log: PartitionLog, from: Offset? = nil) throws -> (
    records: [KeyedRecord], batches: [BatchHeader]
  ) {
    var next = from ?? log.logStart
    var found: [KeyedRecord] = []
    var headers: [BatchHeader] = []
    while true {
      let batches: [SharedBytes]
      let after: Offset
      switch try log.read(from: next, maxBytes: 1 << 20) {
      case .atEnd: return (found, headers)
      case .memory(let some, let end): (batches, after) = (some, end)
      case .file(let plan):
        let result = try directory.read(plan)
        (batches, after) = (result.batches, result.next)
      }
      try #require(after > next)
      for batch in batches {
        var reader = BatchReader(limits: BatchLimits())
        try batch.withUnsafeBytes { bytes in
          let header = try reader.forEach(bytes) { record in
            guard record.offset >= next.rawValue else { return }
            var item = KeyedRecord(
              record.key.map { String(decoding: $0, as: UTF8.self) },
              record.value.map { String(decoding: $0, as: UTF8.self) }, timestamp: record.timestamp,
              headers: record.headers.map { $0.nameText })
            item.offset = record.offset
            found.append(item)
          }
          headers.append(header)
        }
      }
      next = after
    }
  }
}
