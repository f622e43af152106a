import RecordFormat
import SkeinCore
import Wire

/// Batches as records, for thin clients.
extension BatchReader {
  /// Shows the records of a stored batch that are at `offset` or behind it.
  /// - Parameter next: where to go on when not even the header says it.
  /// - Throws: `BATCH_UNDECODABLE`, whose `next_offset` says where to go on. Records before the flaw may have been shown.
  mutating func decode(
    _ batch: SharedBytes, from offset: Offset, next: Offset, _ body: (StoredRecord) -> Void
  ) throws(Fault) {
    do {
      try batch.withUnsafeBytes { bytes in
        let epoch = try BatchHeader(parsing: bytes).leaderEpoch
        try forEach(bytes) { record in
          if record.offset >= offset.rawValue { body(StoredRecord(record, leaderEpoch: epoch)) }
        }
      }
    } catch {
      let header = try? batch.withUnsafeBytes { try BatchHeader(parsing: $0) }
      let next = header?.nextOffset ?? next.rawValue
      throw Fault(
        .batchUndecodable, "a stored batch cannot be decoded (\(error)); next_offset says where to go on",
        metadata: ["next_offset": String(next)])
    }
  }
}

extension StoredRecord {
  /// A copy of a record of a batch.
  init(_ record: RecordView, leaderEpoch: Int32) {
    self.init()
    offset = record.offset
    timestampMs = record.timestamp
    key = record.key.map { SharedBytes(copying: $0) }
    value = record.value.map { SharedBytes(copying: $0) }
    headers = record.headers.map { header in
      Header(
        name: header.nameText, value: header.value.map { SharedBytes(copying: $0) } ?? .empty)
    }
    self.leaderEpoch = leaderEpoch
  }

  /// What it takes in a message, in bytes, about.
  var roughSize: Int {
    headers.reduce(24 + (key?.count ?? 0) + (value?.count ?? 0)) {
      $0 + $1.name.utf8.count + $1.value.count + 8
    }
  }
}
