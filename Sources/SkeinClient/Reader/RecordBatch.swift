import RecordFormat
public import SkeinCore
import Synchronization

/// One record batch as it lies in the log: its CRC is checked, its records are decoded when you ask.
///
/// Holding one holds the broker's message that it came in (`ReaderConfiguration.maxMessageBytes`).
/// A value; any thread.
public struct RecordBatch: Sendable {
  public let topic: String
  public let partition: Int32
  /// Offset of the first record stored in the batch; records before the reader's position are left out.
  public let baseOffset: Int64
  /// Where reading goes on after this batch.
  public let nextOffset: Int64
  /// Records in the batch as stored.
  public let recordCount: Int
  public let leaderEpoch: Int32
  /// The end of what was committed when the broker sent it; lag = this − `nextOffset`.
  public let highWatermark: Int64
  /// The batch in the Kafka v2 format, byte for byte.
  public let bytes: SharedBytes

  let visible: Range<Int64>
  let scratch: DecodeScratch

  /// Calls `body` with every record in order. The view's pointers lead into the batch and are valid
  /// inside `body` only; nothing is allocated per record. This is the fast way to read.
  /// - Throws: what `body` throws; BATCH_UNDECODABLE (with `next_offset`) if the records do not decode.
  public func forEachRecord(_ body: (RecordView) throws -> Void) throws {
    do {
      try bytes.withUnsafeBytes { bytes in
        try scratch.forEach(bytes) { record in
          if visible.contains(record.offset) { try body(record) }
        }
      }
    } catch let error as BatchError {
      throw SkeinError(
        .batchUndecodable,
        "\(topic)/\(partition) at offset \(baseOffset): \(error.fault.message); go on at \(nextOffset)",
        metadata: [
          "topic": topic, "partition": String(partition), "next_offset": String(nextOffset),
        ], cause: error)
    }
  }

  /// Copies of all records.
  public func records() throws -> [ConsumedRecord] {
    var records: [ConsumedRecord] = []
    records.reserveCapacity(min(recordCount, 1 << 20))
    try forEachRecord { view in
      records.append(
        ConsumedRecord(
          topic: topic, partition: partition, offset: view.offset, timestamp: view.timestamp,
          key: view.key.map(Array.init), value: view.value.map(Array.init),
          headers: view.headers.map { .init(name: $0.nameText, value: $0.value.map(Array.init)) }))
    }
    return records
  }
}

/// A record with bytes of its own.
public struct ConsumedRecord: Sendable, Hashable {
  public struct Header: Sendable, Hashable {
    public var name: String
    public var value: [UInt8]?
  }

  public var topic: String
  public var partition: Int32
  public var offset: Int64
  /// Milliseconds since 1970.
  public var timestamp: Int64
  /// nil and empty are different things.
  public var key: [UInt8]?
  public var value: [UInt8]?
  public var headers: [Header]
}

/// The memory into which a reader's compressed batches are inflated, shared by its batches.
final class DecodeScratch: Sendable {
  private let reader = Mutex(BatchReader())

  func forEach(_ batch: UnsafeRawBufferPointer, _ body: (RecordView) throws -> Void) throws {
    let isDone: Void? = try reader.withLockIfAvailable { reader in
      _ = try reader.forEach(batch, verifyingChecksum: false, body)
    }
    guard isDone == nil else { return }
    // Another batch of this reader is being decoded now, perhaps by the very caller of `body`.
    var own = BatchReader()
    _ = try own.forEach(batch, verifyingChecksum: false, body)
  }
}
