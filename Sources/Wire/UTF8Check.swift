/// Whether bytes are well-formed UTF-8 (Unicode, table 3-7: no overlong forms, no surrogates,
/// nothing above U+10FFFF) without NUL.
package enum UTF8Check {
  package enum Result { case valid, invalid, containsNUL }

  package static func check(_ bytes: UnsafeRawBufferPointer) -> Result {
    var at = 0
    while at < bytes.count {
      if bytes.count - at >= 8, isPlain(bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)) {
        at += 8
        continue
      }
      let lead = bytes[at]
      if lead == 0 { return .containsNUL }
      if lead < 0x80 {
        at += 1
        continue
      }
      guard let length = sequenceLength(bytes, at) else { return .invalid }
      at += length
    }
    return .valid
  }

  /// Eight bytes of ASCII, none of them NUL.
  @inline(__always)
  private static func isPlain(_ word: UInt64) -> Bool {
    let high: UInt64 = 0x8080_8080_8080_8080
    return (word | (word &- 0x0101_0101_0101_0101)) & high == 0
  }

  /// The length of the well-formed sequence of two to four bytes at `at`.
  private static func sequenceLength(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> Int? {
    let lead = bytes[at]
    let length: Int
    var second: ClosedRange<UInt8> = 0x80...0xbf
    switch lead {
    case 0xc2...0xdf: length = 2
    case 0xe0:
      length = 3
      second = 0xa0...0xbf
    case 0xed:
      length = 3
      second = 0x80...0x9f
    case 0xe1...0xef: length = 3
    case 0xf0:
      length = 4
      second = 0x90...0xbf
    case 0xf1...0xf3: length = 4
    case 0xf4:
      length = 4
      second = 0x80...0x8f
    default: return nil
    }
    guard bytes.count - at >= length, second.contains(bytes[at + 1]) else { return nil }
    for i in 2..<max(length, 2) where !(0x80...0xbf).contains(bytes[at + i]) { return nil }
    return length
  }
}
