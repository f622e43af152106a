/// Just enough of protobuf's wire format for the messages of the interoperability tests.
enum Protobuf {
  enum Value {
    case varint(UInt64)
    case bytes(ArraySlice<UInt8>)
    /// Fixed-size fields, which these messages do not have.
    case other
  }

  /// The fields in order; nil when the bytes are not protobuf.
  static func fields(_ bytes: ArraySlice<UInt8>) -> [(number: UInt64, value: Value)]? {
    var rest = bytes
    var fields: [(UInt64, Value)] = []
    while !rest.isEmpty {
      guard let tag = varint(&rest) else { return nil }
      switch tag & 7 {
      case 0:
        guard let value = varint(&rest) else { return nil }
        fields.append((tag >> 3, .varint(value)))
      case 1, 5:
        let size = tag & 7 == 1 ? 8 : 4
        guard rest.count >= size else { return nil }
        rest = rest.dropFirst(size)
        fields.append((tag >> 3, .other))
      case 2:
        guard let length = varint(&rest), length <= UInt64(rest.count) else { return nil }
        fields.append((tag >> 3, .bytes(rest.prefix(Int(length)))))
        rest = rest.dropFirst(Int(length))
      default: return nil
      }
    }
    return fields
  }

  private static func varint(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard let byte = bytes.popFirst() else { return nil }
      value |= UInt64(byte & 127) << shift
      if byte < 128 { return value }
    }
    return nil
  }

  static func append(_ number: UInt64, varint value: UInt64, to bytes: inout [UInt8]) {
    guard value != 0 else { return }
    append(number << 3, to: &bytes)
    append(value, to: &bytes)
  }

  static func append(_ number: UInt64, bytes value: [UInt8], to bytes: inout [UInt8]) {
    append(number << 3 | 2, to: &bytes)
    append(UInt64(value.count), to: &bytes)
    bytes += value
  }

  private static func append(_ value: UInt64, to bytes: inout [UInt8]) {
    var rest = value
    while rest >= 128 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 128)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }
}
