/// Reads bytes, integers and varints front to back, never beyond `end`.
///
/// Varints are the format's zigzag integers. Overlong encodings are accepted (some encoders pad),
/// bits beyond the integer's width are not.
@usableFromInline
struct ByteCursor {
  @usableFromInline let bytes: UnsafeRawBufferPointer
  /// The next byte. Never beyond `end`, and `end` never beyond `bytes.count`.
  @usableFromInline var position: Int
  @usableFromInline var end: Int

  @inlinable
  init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
    position = 0
    end = bytes.count
  }

  @inlinable var remaining: Int { end - position }

  @inlinable @inline(__always)
  mutating func byte() throws(RecordFlaw) -> UInt8 {
    guard position < end else { throw .truncated }
    defer { position += 1 }
    return bytes[position]
  }

  @inlinable @inline(__always)
  mutating func take(_ count: Int) throws(RecordFlaw) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= end - position else { throw .truncated }
    defer { position += count }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
  }

  @inlinable @inline(__always)
  mutating func varint32() throws(RecordFlaw) -> Int32 {
    let first = try byte()
    if first < 0x80 { return Zigzag.decode32(UInt32(first)) }
    return Zigzag.decode32(try longVarint32(first))
  }

  @inlinable @inline(__always)
  mutating func varint64() throws(RecordFlaw) -> Int64 {
    let first = try byte()
    if first < 0x80 { return Zigzag.decode64(UInt64(first)) }
    return Zigzag.decode64(try longVarint64(first))
  }

  /// A length that may be the -1 of null: nil then.
  @inlinable @inline(__always)
  mutating func nullableBytes() throws(RecordFlaw) -> UnsafeRawBufferPointer? {
    let length = try varint32()
    if length >= 0 { return try take(Int(length)) }
    guard length == -1 else { throw .negativeLength }
    return nil
  }

  @usableFromInline
  mutating func longVarint32(_ first: UInt8) throws(RecordFlaw) -> UInt32 {
    var value = UInt32(first & 0x7f)
    var shift: UInt32 = 7
    while shift < 28 {
      let next = try byte()
      value |= UInt32(next & 0x7f) << shift
      if next < 0x80 { return value }
      shift += 7
    }
    let last = try byte()
    guard last <= 0x0f else { throw .badVarint }
    return value | UInt32(last) << 28
  }

  @usableFromInline
  mutating func longVarint64(_ first: UInt8) throws(RecordFlaw) -> UInt64 {
    var value = UInt64(first & 0x7f)
    var shift: UInt64 = 7
    while shift < 63 {
      let next = try byte()
      value |= UInt64(next & 0x7f) << shift
      if next < 0x80 { return value }
      shift += 7
    }
    let last = try byte()
    guard last <= 0x01 else { throw .badVarint }
    return value | UInt64(last) << 63
  }
}
