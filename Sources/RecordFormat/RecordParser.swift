/// Parses the records of one batch, one after the other, in place. What is common to the
/// produce-side check and the reader; each adds its own rules on deltas and timestamps.
@usableFromInline
struct RecordParser {
  /// The fields of a record as they stand in the batch.
  @usableFromInline
  struct Fields {
    @usableFromInline let attributes: UInt8
    @usableFromInline let timestampDelta: Int64
    @usableFromInline let offsetDelta: Int32
    @usableFromInline let key: UnsafeRawBufferPointer?
    @usableFromInline let value: UnsafeRawBufferPointer?
    @usableFromInline let headers: HeaderSequence

    @inlinable
    init(
      attributes: UInt8, timestampDelta: Int64, offsetDelta: Int32, key: UnsafeRawBufferPointer?,
      value: UnsafeRawBufferPointer?, headers: HeaderSequence
    ) {
      self.attributes = attributes
      self.timestampDelta = timestampDelta
      self.offsetDelta = offsetDelta
      self.key = key
      self.value = value
      self.headers = headers
    }
  }

  /// Bytes of the smallest record: seven one-byte fields.
  @usableFromInline static let minimumSize = 7

  @usableFromInline var cursor: ByteCursor
  @usableFromInline let maxRecordBytes: Int
  @usableFromInline let maxHeaders: Int

  @inlinable
  init(_ records: UnsafeRawBufferPointer, limits: BatchLimits) {
    cursor = ByteCursor(records)
    maxRecordBytes = limits.maxRecordBytes
    maxHeaders = limits.maxHeaders
  }

  @inlinable var isAtEnd: Bool { cursor.position == cursor.bytes.count }

  /// The next record. Inside it no field can reach beyond the record's own length.
  @inlinable @inline(__always)
  mutating func next() throws(RecordFlaw) -> Fields {
    let length = Int(try cursor.varint32())
    guard length >= 0 else { throw .negativeLength }
    guard length <= cursor.remaining else { throw .truncated }
    let batchEnd = cursor.end
    cursor.end = cursor.position + length

    let attributes = try cursor.byte()
    let timestampDelta = try cursor.varint64()
    let offsetDelta = try cursor.varint32()
    let key = try cursor.nullableBytes()
    let value = try cursor.nullableBytes()
    let headers = try takeHeaders()

    guard cursor.position == cursor.end else { throw .trailingBytes }
    cursor.end = batchEnd
    let size = (key?.count ?? 0) + (value?.count ?? 0) + headers.bytes.count
    guard size <= maxRecordBytes else { throw .tooLarge(size) }
    return Fields(
      attributes: attributes, timestampDelta: timestampDelta, offsetDelta: offsetDelta, key: key,
      value: value, headers: headers)
  }

  @inlinable @inline(__always)
  mutating func takeHeaders() throws(RecordFlaw) -> HeaderSequence {
    let count = Int(try cursor.varint32())
    if count == 0 { return .none }
    return try walkHeaders(count)
  }

  @usableFromInline
  mutating func walkHeaders(_ count: Int) throws(RecordFlaw) -> HeaderSequence {
    guard count >= 0 else { throw .negativeLength }
    guard count <= maxHeaders else { throw .tooManyHeaders(count) }
    let start = cursor.position
    for _ in 0..<count {
      let length = try cursor.varint32()
      guard length >= 0 else { throw .negativeLength }
      guard HeaderName.isValid(try cursor.take(Int(length))) else { throw .headerName }
      _ = try cursor.nullableBytes()
    }
    let bytes = UnsafeRawBufferPointer(rebasing: cursor.bytes[start..<cursor.position])
    return HeaderSequence(bytes: bytes, count: count)
  }
}
