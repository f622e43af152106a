/// The 61 bytes at the front of a record batch (Kafka message format v2; byte table in
/// Docs/formats/record-batch.md). All integers are big-endian.
///
/// The CRC covers everything from `attributes` on. `baseOffset` and `leaderEpoch` lie before it, so
/// the broker stamps them without touching what the client signed (R3).
public struct BatchHeader: Sendable, Hashable {
  /// Bytes of the header.
  public static let size = 61
  /// The bytes that `batchLength` does not count: base offset and the length itself.
  static let lengthOverhead = 12
  /// Where the CRC's coverage begins.
  static let checksumStart = 21
  /// The only value of `magic` in this format.
  public static let magicV2: Int8 = 2

  /// Offset of the first record.
  public var baseOffset: Int64
  /// Bytes after this field.
  public var batchLength: Int32
  public var leaderEpoch: Int32
  public var magic: Int8
  /// CRC-32C from `attributes` to the end of the batch.
  public var crc: UInt32
  public var attributes: Int16
  /// Offset of the last record, relative to `baseOffset`.
  public var lastOffsetDelta: Int32
  /// Milliseconds since 1970; the records' timestamps are relative to it.
  public var baseTimestamp: Int64
  /// The greatest timestamp of the records, in milliseconds.
  public var maxTimestamp: Int64
  /// -1 without idempotence.
  public var producerID: Int64
  public var producerEpoch: Int16
  /// Sequence number of the first record; wraps from 2^31-1 to 0 (P3).
  public var baseSequence: Int32
  public var recordCount: Int32

  /// Reads the header at the front of `bytes` and checks what nothing can be said without: enough
  /// bytes, magic 2, a length that covers the header. No CRC, and the rest of the batch need not
  /// be there.
  public init(parsing bytes: UnsafeRawBufferPointer) throws(BatchError) {
    guard bytes.count >= Self.size else {
      throw .truncated(needed: Self.size, available: bytes.count)
    }
    magic = bytes.bigEndian(at: 16, as: Int8.self)
    guard magic == Self.magicV2 else { throw .badMagic(magic) }
    batchLength = bytes.bigEndian(at: 8, as: Int32.self)
    guard Int(batchLength) >= Self.size - Self.lengthOverhead else { throw .badLength(batchLength) }
    baseOffset = bytes.bigEndian(at: 0, as: Int64.self)
    leaderEpoch = bytes.bigEndian(at: 12, as: Int32.self)
    crc = bytes.bigEndian(at: 17, as: UInt32.self)
    attributes = bytes.bigEndian(at: 21, as: Int16.self)
    lastOffsetDelta = bytes.bigEndian(at: 23, as: Int32.self)
    baseTimestamp = bytes.bigEndian(at: 27, as: Int64.self)
    maxTimestamp = bytes.bigEndian(at: 35, as: Int64.self)
    producerID = bytes.bigEndian(at: 43, as: Int64.self)
    producerEpoch = bytes.bigEndian(at: 51, as: Int16.self)
    baseSequence = bytes.bigEndian(at: 53, as: Int32.self)
    recordCount = bytes.bigEndian(at: 57, as: Int32.self)
  }

  /// A header to be filled in; `batchLength` and `crc` are the builder's business.
  init(attributes: Int16, recordCount: Int32, baseTimestamp: Int64, maxTimestamp: Int64) {
    baseOffset = 0
    batchLength = 0
    leaderEpoch = -1
    magic = Self.magicV2
    crc = 0
    self.attributes = attributes
    lastOffsetDelta = recordCount - 1
    self.baseTimestamp = baseTimestamp
    self.maxTimestamp = maxTimestamp
    producerID = -1
    producerEpoch = -1
    baseSequence = -1
    self.recordCount = recordCount
  }

  /// Writes the 61 bytes. Our own buffers only: traps when `bytes` is shorter.
  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    precondition(bytes.count >= Self.size)
    bytes.storeBigEndian(baseOffset, at: 0)
    bytes.storeBigEndian(batchLength, at: 8)
    bytes.storeBigEndian(leaderEpoch, at: 12)
    bytes.storeBigEndian(magic, at: 16)
    bytes.storeBigEndian(crc, at: 17)
    bytes.storeBigEndian(attributes, at: 21)
    bytes.storeBigEndian(lastOffsetDelta, at: 23)
    bytes.storeBigEndian(baseTimestamp, at: 27)
    bytes.storeBigEndian(maxTimestamp, at: 35)
    bytes.storeBigEndian(producerID, at: 43)
    bytes.storeBigEndian(producerEpoch, at: 51)
    bytes.storeBigEndian(baseSequence, at: 53)
    bytes.storeBigEndian(recordCount, at: 57)
  }
}

extension BatchHeader {
  /// Attribute bits, as the format numbers them.
  enum Bits {
    static let codec: Int16 = 0b111
    static let appendTime: Int16 = 1 << 3
    static let transactional: Int16 = 1 << 4
    static let control: Int16 = 1 << 5
    static let deleteHorizon: Int16 = 1 << 6
    static let known = codec | appendTime | transactional | control | deleteHorizon
  }

  /// Bytes of the whole batch, header included.
  public var totalSize: Int { Self.lengthOverhead + Int(batchLength) }
  /// nil for a number that the format does not define.
  public var codec: Codec? { Codec(rawValue: attributes & Bits.codec) }
  /// A batch of the broker's own (transaction markers, partitioner flips): carries no user records.
  public var isControl: Bool { attributes & Bits.control != 0 }
  public var isTransactional: Bool { attributes & Bits.transactional != 0 }
  /// Every record has `maxTimestamp` as its timestamp, set by a broker.
  public var hasAppendTime: Bool { attributes & Bits.appendTime != 0 }
  /// Whether producer id and sequences are meant (P2).
  public var isIdempotent: Bool { producerID >= 0 }

  /// Offset of the last record. Wraps only for headers that no check has accepted.
  public var lastOffset: Int64 { baseOffset &+ Int64(lastOffsetDelta) }
  /// The offset after the last record: where a reader goes on.
  public var nextOffset: Int64 { lastOffset &+ 1 }
  /// Sequence number of the last record; 2^31-1 is followed by 0 (P3). Idempotent batches only.
  public var lastSequence: Int32 {
    Int32((Int64(baseSequence) + Int64(lastOffsetDelta)) & 0x7fff_ffff)
  }
}
