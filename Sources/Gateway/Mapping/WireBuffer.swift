/// Protobuf's wire format, written field by field. Pure.
struct WireBuffer {
  private(set) var bytes: [UInt8] = []

  mutating func varint(_ value: UInt64) {
    var value = value
    while value >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
      value >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: value))
  }

  /// - Parameter type: 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32.
  mutating func tag(_ field: UInt32, _ type: UInt8) { varint(UInt64(field) << 3 | UInt64(type)) }

  mutating func fixed32(_ value: UInt32) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
  mutating func fixed64(_ value: UInt64) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }

  mutating func delimited(_ field: UInt32, _ content: some Collection<UInt8>) {
    tag(field, 2)
    varint(UInt64(content.count))
    bytes.append(contentsOf: content)
  }

  /// Begins a length-delimited field; its content follows, then `end` with what this returned.
  mutating func begin(_ field: UInt32) -> Int {
    tag(field, 2)
    return bytes.count
  }

  /// Takes back everything behind the first `count` bytes.
  mutating func truncate(to count: Int) { bytes.removeLast(max(0, bytes.count - count)) }

  /// Puts the length in front of what was written since `begin`.
  mutating func end(_ mark: Int) {
    var length = WireBuffer()
    length.varint(UInt64(bytes.count - mark))
    bytes.insert(contentsOf: length.bytes, at: mark)
  }
}
