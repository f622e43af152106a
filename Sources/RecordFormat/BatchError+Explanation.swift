extension BatchError {
  /// A sentence that names the thing, the value, the limit and the cure.
  public var explanation: String {
    switch self {
    case .truncated(let needed, let available):
      "the batch needs \(needed) bytes but only \(available) are there"
    case .badLength(let length):
      "the batch's length field says \(length), less than its own header"
    case .trailingBytes(let count):
      "\(count) bytes follow the batch; send exactly one batch per message"
    case .badMagic(let magic):
      "the batch has magic \(magic); only record batches of format v2 (magic 2) are accepted"
    case .badCRC(let stored, let computed):
      "the batch's CRC-32C is \(Self.hex(stored)) but its bytes give \(Self.hex(computed))"
    case .badRecord(let index, let flaw):
      "record \(index) of the batch does not parse: \(flaw.explanation)"
    case .badCompression(let codec):
      "the records do not decompress as \(codec)"
    case .emptyBatch: "the batch has no records"
    case .controlBatch: "control batches are the broker's own; clear attribute bit 5"
    case .transactionalBatch:
      "transactional batches are not supported by this broker; clear attribute bit 4"
    case .appendTimeSet:
      "a producer sets create time; clear attribute bit 3 (timestamp type)"
    case .unknownAttributes(let attributes):
      "unknown attribute bits in \(Self.hex(UInt32(UInt16(bitPattern: attributes))))"
    case .unsupportedCodec(let number):
      "compression codec \(number) is not supported; use 0 (none), 1 (gzip) or 4 (zstd)"
    case .badCounts(let records, let delta):
      "record count \(records) and last offset delta \(delta) do not agree"
    case .badOffset(let offset):
      "base offset \(offset) is outside 0 ..< 2^62"
    case .badSequence(let epoch, let sequence):
      "a batch with a producer id needs an epoch and a sequence of at least 0, not \(epoch) and \(sequence)"
    case .maxTimestampWrong(let stored, let actual):
      "the header's max timestamp is \(stored) but the records reach \(actual)"
    case .timestampInvalid(let timestamp):
      "timestamp \(timestamp) ms is negative, more than an hour ahead, or too far from the batch's first"
    case .badHeaderName:
      "a header name must be UTF-8 without NUL"
    case .keyMissing(let index):
      "record \(index) has no key, and the topic is compacted; give every record a key"
    case .batchTooLarge(let size, let limit):
      "the batch of \(size) bytes exceeds the limit of \(limit); send smaller batches"
    case .recordTooLarge(let index, let size, let limit):
      "record \(index) has \(size) bytes of key, value and headers; the limit is \(limit)"
    case .tooManyRecords(let count, let limit):
      "the batch has \(count) records; the limit is \(limit)"
    case .tooManyHeaders(let count, let limit):
      "a record has \(count) headers; the limit is \(limit)"
    case .inflatesTooLarge(let compressed, let limit):
      "\(compressed) compressed bytes would decompress to more than \(limit)"
    }
  }

  private static func hex(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }
}

extension RecordFlaw {
  var explanation: String {
    switch self {
    case .truncated: "it reaches beyond the bytes that are there"
    case .badVarint: "a variable-length integer is too long"
    case .negativeLength: "a length or count is negative"
    case .trailingBytes: "its length exceeds its fields"
    case .offsetDelta: "its offset delta is out of order"
    case .timestamp: "its timestamp overflows"
    case .attributes: "its attribute bits must be 0"
    case .headerName: "a header name is not UTF-8 or contains NUL"
    case .moreThanCounted: "bytes follow the last record that the header counts"
    case .tooLarge(let size): "it has \(size) bytes"
    case .tooManyHeaders(let count): "it has \(count) headers"
    }
  }
}
