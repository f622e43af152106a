/// Steps through the fields of one message without a descriptor. Every step is checked against the
/// end of the bytes, so it is safe on any input; what is not a field ends the walk before the end.
package struct FieldReader {
  package struct Field {
    package var number: UInt32
    /// 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32.
    package var wireType: UInt8
    /// The value of a varint.
    package var value: UInt64
    /// The content of a length-delimited field, or the bytes of the value.
    package var range: Range<Int>
  }

  package let bytes: UnsafeRawBufferPointer
  /// Where the next field begins.
  package private(set) var at = 0

  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package var isAtEnd: Bool { at == bytes.count }

  /// The next field, or nil at the end and at anything that is not a field.
  @inline(__always)
  package mutating func next() -> Field? {
    guard at < bytes.count else { return nil }
    var position = at
    guard let tag = Self.varint(bytes, &position, maxBytes: 5), tag >> 3 >= 1, tag >> 3 <= 0x1fff_ffff
    else { return nil }
    var field = Field(
      number: UInt32(tag >> 3), wireType: UInt8(tag & 7), value: 0, range: position..<position)
    switch field.wireType {
    case 0:
      guard let value = Self.varint(bytes, &position, maxBytes: 10) else { return nil }
      field.value = value
    case 1:
      guard bytes.count - position >= 8 else { return nil }
      position += 8
    case 2:
      guard let length = Self.varint(bytes, &position, maxBytes: 5), length <= UInt64(bytes.count - position)
      else { return nil }
      field.range = position..<position + Int(length)
      position += Int(length)
      at = position
      return field
    case 5:
      guard bytes.count - position >= 4 else { return nil }
      position += 4
    default: return nil
    }
    field.range = field.range.lowerBound..<position
    at = position
    return field
  }

  /// A varint of at most `maxBytes` bytes at `at`, which moves behind it; nil if it does not end.
  @inline(__always)
  package static func varint(_ bytes: UnsafeRawBufferPointer, _ at: inout Int, maxBytes: Int) -> UInt64? {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    let end = min(bytes.count, at + maxBytes)
    while at < end {
      let byte = bytes[at]
      at += 1
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    return nil
  }
}
