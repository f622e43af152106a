/// The format's variable-length integers: zigzag, then 7 bits a byte, least significant first.
@usableFromInline
enum Zigzag {
  @inlinable @inline(__always)
  static func decode32(_ raw: UInt32) -> Int32 {
    Int32(bitPattern: (raw >> 1) ^ (0 &- (raw & 1)))
  }

  @inlinable @inline(__always)
  static func decode64(_ raw: UInt64) -> Int64 {
    Int64(bitPattern: (raw >> 1) ^ (0 &- (raw & 1)))
  }

  /// A 32-bit value has the same encoding as the 64-bit one of equal worth, so one suffices.
  @inline(__always)
  static func encode(_ value: Int64) -> UInt64 {
    UInt64(bitPattern: (value << 1) ^ (value >> 63))
  }

  /// Bytes of the encoded `value`: 1 to 10.
  @inline(__always)
  static func size(_ value: Int64) -> Int {
    (70 - (encode(value) | 1).leadingZeroBitCount) / 7
  }

  /// Writes `value` at `pointer` and returns the place after it. The caller made room.
  @inline(__always)
  static func write(_ value: Int64, at pointer: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    var raw = encode(value)
    var next = pointer
    while raw >= 0x80 {
      next.storeBytes(of: UInt8(truncatingIfNeeded: raw) | 0x80, as: UInt8.self)
      next += 1
      raw >>= 7
    }
    next.storeBytes(of: UInt8(truncatingIfNeeded: raw), as: UInt8.self)
    return next + 1
  }
}
