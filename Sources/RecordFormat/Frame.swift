public import SkeinCore

/// The 56 bytes that stand before every batch in journal and segment: what the v2 format has no
/// room for (architecture.md, R3; byte table in Docs/formats/frame.md). All integers big-endian.
///
/// The checksum is seeded with (topic id, partition) and covers the header and the batch's own CRC.
/// So a frame that was written for another partition, or read from another place, does not verify,
/// and the payload is not summed twice: check the batch's CRC as well wherever bytes come from disk.
public struct Frame: Sendable, Hashable {
  /// Bytes of a frame.
  public static let size = 56
  /// The format that this build writes and reads.
  public static let version: UInt8 = 1
  /// "SKFR".
  static let magic: UInt32 = 0x534b_4652
  /// The bytes before the checksum, which lies last.
  private static let covered = size - 4

  /// Bytes of the batch that follows.
  public var length: Int32
  /// Whose key the batch is encrypted with; 0 while it is not.
  public var keyID: UInt32
  public var isEncrypted: Bool
  public var baseOffset: Int64
  /// The broker's wall clock when it appended, in milliseconds; clamped monotonic per partition
  /// (R60). Retention and lag use it.
  public var appendTime: Int64
  /// The greatest timestamp of the records, for the time index: an index holds nothing that is not
  /// in frames.
  public var maxTimestamp: Int64
  public var lastOffsetDelta: Int32
  public var leaderEpoch: Int32
  /// The partitioner generation that the producer used.
  public var generation: UInt32
  /// As stored; set by `encode`, compared by `verify`.
  public private(set) var checksum: UInt32 = 0

  /// The frame for a batch whose header is stamped already.
  public init(batch: BatchHeader, appendTime: Int64, generation: UInt32) {
    length = Int32(clamping: batch.totalSize)
    keyID = 0
    isEncrypted = false
    baseOffset = batch.baseOffset
    self.appendTime = appendTime
    maxTimestamp = batch.maxTimestamp
    lastOffsetDelta = batch.lastOffsetDelta
    leaderEpoch = batch.leaderEpoch
    self.generation = generation
  }

  /// Bytes of frame and batch together.
  public var totalSize: Int { Self.size + Int(length) }
  /// The offset after the batch's last record.
  public var nextOffset: Int64 { baseOffset &+ Int64(lastOffsetDelta) &+ 1 }

  /// Reads the frame at the front of `bytes`. Its fields are within their ranges then, but prove
  /// nothing before `verify`.
  public init(parsing bytes: UnsafeRawBufferPointer) throws(FrameError) {
    guard bytes.count >= Self.size else { throw .truncated(available: bytes.count) }
    guard bytes.bigEndian(at: 0, as: UInt32.self) == Self.magic else { throw .notAFrame }
    let version = bytes.bigEndian(at: 4, as: UInt8.self)
    guard version == Self.version else { throw .unknownVersion(version) }
    let flags = bytes.bigEndian(at: 5, as: UInt8.self)
    guard flags & ~Flags.known == 0, bytes.bigEndian(at: 6, as: UInt16.self) == 0 else {
      throw .unknownFlags(flags)
    }
    isEncrypted = flags & Flags.encrypted != 0
    length = bytes.bigEndian(at: 8, as: Int32.self)
    keyID = bytes.bigEndian(at: 12, as: UInt32.self)
    baseOffset = bytes.bigEndian(at: 16, as: Int64.self)
    appendTime = bytes.bigEndian(at: 24, as: Int64.self)
    maxTimestamp = bytes.bigEndian(at: 32, as: Int64.self)
    lastOffsetDelta = bytes.bigEndian(at: 40, as: Int32.self)
    leaderEpoch = bytes.bigEndian(at: 44, as: Int32.self)
    generation = bytes.bigEndian(at: 48, as: UInt32.self)
    checksum = bytes.bigEndian(at: 52, as: UInt32.self)
    guard length >= BatchHeader.size, baseOffset >= 0, baseOffset < Offset.limit.rawValue,
      lastOffsetDelta >= 0, leaderEpoch >= 0
    else { throw .badField }
  }

  /// Writes the 56 bytes and their checksum. Our own buffers only: traps when `bytes` is shorter.
  /// - Parameter batchCRC: the `crc` field of the batch that follows.
  public mutating func encode(
    into bytes: UnsafeMutableRawBufferPointer, key: TopicPartition, batchCRC: UInt32
  ) {
    precondition(bytes.count >= Self.size)
    checksum = expectedChecksum(key: key, batchCRC: batchCRC)
    store(into: bytes)
    bytes.storeBigEndian(checksum, at: Self.covered)
  }

  /// Whether this frame was written for `key` and for the batch with that header: the checksum, and
  /// every field that both hold. The batch's own CRC remains to be checked.
  public func verify(key: TopicPartition, batchHeader: BatchHeader) throws(FrameError) {
    guard checksum == expectedChecksum(key: key, batchCRC: batchHeader.crc) else {
      throw .badChecksum
    }
    // Offset and epoch of the batch lie outside its CRC: only this comparison guards them.
    guard batchHeader.baseOffset == baseOffset, batchHeader.leaderEpoch == leaderEpoch,
      batchHeader.totalSize == Int(length), batchHeader.lastOffsetDelta == lastOffsetDelta,
      batchHeader.maxTimestamp == maxTimestamp
    else { throw .otherBatch }
  }

  // MARK: Helpers

  private enum Flags {
    static let encrypted: UInt8 = 1
    static let known = encrypted
  }

  private func store(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.storeBigEndian(Self.magic, at: 0)
    bytes.storeBigEndian(Self.version, at: 4)
    bytes.storeBigEndian(isEncrypted ? Flags.encrypted : 0, at: 5)
    bytes.storeBigEndian(UInt16(0), at: 6)
    bytes.storeBigEndian(length, at: 8)
    bytes.storeBigEndian(keyID, at: 12)
    bytes.storeBigEndian(baseOffset, at: 16)
    bytes.storeBigEndian(appendTime, at: 24)
    bytes.storeBigEndian(maxTimestamp, at: 32)
    bytes.storeBigEndian(lastOffsetDelta, at: 40)
    bytes.storeBigEndian(leaderEpoch, at: 44)
    bytes.storeBigEndian(generation, at: 48)
  }

  /// CRC-32C over topic id, partition, the 52 bytes, and the batch's CRC, in this order.
  private func expectedChecksum(key: TopicPartition, batchCRC: UInt32) -> UInt32 {
    withUnsafeTemporaryAllocation(byteCount: 20 + Self.size, alignment: 8) { bytes in
      bytes.storeBigEndian(key.topic.high, at: 0)
      bytes.storeBigEndian(key.topic.low, at: 8)
      bytes.storeBigEndian(key.partition, at: 16)
      store(into: UnsafeMutableRawBufferPointer(rebasing: bytes[20...]))
      bytes.storeBigEndian(batchCRC, at: 20 + Self.covered)
      return CRC32C.checksum(UnsafeRawBufferPointer(bytes))
    }
  }
}

/// Why 56 bytes are not the frame that was expected there. Always damage, a misdirected read or
/// write, or a newer format: never a client's doing.
public enum FrameError: Error, Sendable, Hashable {
  case truncated(available: Int)
  /// The magic is missing: zeros, the end of what was written, or other data.
  case notAFrame
  case unknownVersion(UInt8)
  case unknownFlags(UInt8)
  case badField
  case badChecksum
  /// The checksum is right, but the batch after it has another offset, epoch or length.
  case otherBatch

  /// `DATA_CORRUPT`; the caller knows and adds which partition and position.
  public var fault: Fault {
    Fault(.dataCorrupt, "the frame before a stored batch does not verify (\(self))")
  }
}
