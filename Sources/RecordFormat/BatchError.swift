public import SkeinCore

/// Why a batch, or a record for one, was refused. Nothing was appended and nothing was changed.
public enum BatchError: Error, Sendable, Hashable {
  // The bytes do not say what they should: damage, or a broken encoder.
  case truncated(needed: Int, available: Int)
  case badLength(Int32)
  case trailingBytes(Int)
  case badMagic(Int8)
  case badCRC(stored: UInt32, computed: UInt32)
  case badRecord(index: Int, flaw: RecordFlaw)
  /// The compressed records do not decompress.
  case badCompression(Codec)

  // Well formed, but not acceptable.
  case emptyBatch
  case controlBatch
  case transactionalBatch
  case appendTimeSet
  case unknownAttributes(Int16)
  case unsupportedCodec(Int16)
  case badCounts(records: Int32, lastOffsetDelta: Int32)
  case badOffset(Int64)
  case badSequence(producerEpoch: Int16, baseSequence: Int32)
  case maxTimestampWrong(stored: Int64, actual: Int64)
  /// Negative, later than allowed (R60), or too far from the batch's first to be encoded.
  case timestampInvalid(Int64)
  /// A header name that is not UTF-8 or contains NUL.
  case badHeaderName
  /// A record of a compacted topic has no key.
  case keyMissing(index: Int)

  // Over a limit.
  case batchTooLarge(size: Int, limit: Int)
  case recordTooLarge(index: Int, size: Int, limit: Int)
  case tooManyRecords(Int, limit: Int)
  case tooManyHeaders(Int, limit: Int)
  /// Decompression would exceed `BatchLimits.maxInflatedBytes` or its ratio.
  case inflatesTooLarge(compressed: Int, limit: Int)
}

/// What is wrong inside one record.
public enum RecordFlaw: Error, Sendable, Hashable {
  /// A length or count reaches beyond the record, or the record beyond the batch.
  case truncated
  /// More bytes, or more bits, than the integer has.
  case badVarint
  /// A negative length that is not the -1 of null, or a negative count.
  case negativeLength
  /// The record's fields end before its length says.
  case trailingBytes
  /// Offset deltas must rise by one (produce side), or at least rise and stay within the batch.
  case offsetDelta
  /// The timestamp does not fit 64 bits.
  case timestamp
  /// Record attribute bits are all unused in this format.
  case attributes
  /// A header's name is not UTF-8 or contains NUL: no protobuf string can carry it.
  case headerName
  /// Bytes follow the last record that the header counts.
  case moreThanCounted
  /// Carried here until the index is known; callers see `BatchError.recordTooLarge`.
  case tooLarge(Int)
  /// Carried here until the limit is known; callers see `BatchError.tooManyHeaders`.
  case tooManyHeaders(Int)
}

extension BatchError {
  /// Gives a flaw its place and its limit.
  @usableFromInline
  init(_ flaw: RecordFlaw, index: Int, limits: BatchLimits) {
    switch flaw {
    case .tooLarge(let size):
      self = .recordTooLarge(index: index, size: size, limit: limits.maxRecordBytes)
    case .tooManyHeaders(let count):
      self = .tooManyHeaders(count, limit: limits.maxHeaders)
    default:
      self = .badRecord(index: index, flaw: flaw)
    }
  }

  /// The refusal as a producer sees it (R42: definite). A reader that meets a stored batch in this
  /// state reports `Reason.batchUndecodable` or `Reason.dataCorrupt` with `explanation` instead.
  public var fault: Fault { Fault(reason, explanation, metadata: metadata) }

  private var reason: Reason {
    switch self {
    case .truncated, .badLength, .trailingBytes, .badMagic, .badCRC, .badRecord, .badCompression:
      .batchCorrupt
    case .emptyBatch, .controlBatch, .transactionalBatch, .appendTimeSet, .unknownAttributes,
      .unsupportedCodec, .badCounts, .badOffset, .badSequence, .maxTimestampWrong, .badHeaderName,
      .tooManyRecords, .tooManyHeaders:
      .batchInvalid
    case .timestampInvalid: .timestampInvalid
    case .batchTooLarge, .inflatesTooLarge: .batchTooLarge
    case .recordTooLarge: .recordTooLarge
    case .keyMissing: .keyRequired
    }
  }

  private var metadata: [String: String] {
    switch self {
    case .batchTooLarge(let size, let limit), .recordTooLarge(_, let size, let limit):
      ["size": String(size), "limit": String(limit)]
    case .tooManyRecords(let count, let limit), .tooManyHeaders(let count, let limit):
      ["count": String(count), "limit": String(limit)]
    case .keyMissing(let index): ["record": String(index)]
    case .inflatesTooLarge(let compressed, let limit):
      ["compressed": String(compressed), "limit": String(limit)]
    default: [:]
    }
  }
}
