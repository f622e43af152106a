import CommitLog
import GroupCoordination
import RecordFormat
import SkeinCore

/// Makes batches of the records that a coordinator proposes. Appends of one turn of the loop share a batch: it is all or
/// none for all of them, which is more than each needs, and costs one frame, one checksum and one entry of the journal.
///
/// A value of its `CoordinatorHost`, on its loop.
struct GroupAppender: ~Copyable {
  /// A batch is closed when it would become larger, in bytes; one append is never divided.
  static let batchBytes = 512 << 10
  /// Records that wait for room in the log's queue, in bytes; beyond it requests are refused.
  static let maximumHeldBytes = 16 << 20

  struct Batch {
    let bytes: SharedBytes
    /// Of the last append in it.
    let sequence: UInt64
  }

  /// Closed, in order, not yet taken by the log.
  private var ready: [Batch] = []
  /// Sequences by the tags of the batches that the log has.
  private var inFlight: [UInt64: UInt64] = [:]
  private var builder = BatchBuilder(codec: .none)
  private var newest: UInt64 = 0
  private var readyBytes = 0

  /// Bytes that the log does not have yet.
  var heldBytes: Int { readyBytes + (builder.isEmpty ? 0 : builder.sizeInBytes) }
  var first: Batch? { ready.first }

  /// - Throws: when one append alone is larger than a batch: its coordinator's limits do not fit the log's.
  mutating func add(_ append: GroupAppend, timestamp: Int64) throws(BatchError) {
    let records = append.records.map { (key: $0.key, value: $0.value) }
    let bytes = records.reduce(0) { $0 + $1.key.count + ($1.value?.count ?? 0) + 24 }
    if !builder.isEmpty, builder.sizeInBytes + bytes > Self.batchBytes { try close() }
    for record in records {
      try builder.append(key: record.key, value: record.value, timestamp: timestamp)
    }
    newest = append.sequence
  }

  /// Closes the open batch, if there is one.
  mutating func close() throws(BatchError) {
    guard !builder.isEmpty else { return }
    let batch = Batch(bytes: try builder.finish(), sequence: newest)
    readyBytes += batch.bytes.count
    ready.append(batch)
  }

  /// The log is given the first batch under this tag.
  mutating func begin(_ tag: UInt64) { inFlight[tag] = ready.first?.sequence }

  /// The log has it.
  mutating func taken() { readyBytes -= ready.removeFirst().bytes.count }

  /// The sequence of the batch of that tag; nil: of another coordinator.
  mutating func end(_ tag: UInt64) -> UInt64? { inFlight.removeValue(forKey: tag) }
}
