/// The percent encoding of `grpc-message` (gRPC over HTTP/2, "Responses"): bytes 0x20...0x7E except
/// `%` travel as they are, all others as `%XX` of their UTF-8.
enum PercentEncoding {
  static func encode(_ text: String) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.utf8.count)
    for byte in text.utf8 {
      if (0x20...0x7e).contains(byte), byte != UInt8(ascii: "%") {
        result.append(byte)
      } else {
        result.append(UInt8(ascii: "%"))
        result.append(Self.digits[Int(byte >> 4)])
        result.append(Self.digits[Int(byte & 15)])
      }
    }
    return result
  }

  /// Never fails: a stray `%` stays as it is, and what is not UTF-8 becomes U+FFFD.
  static func decode(_ bytes: some Collection<UInt8>) -> String {
    let input = Array(bytes)
    var result: [UInt8] = []
    result.reserveCapacity(input.count)
    var index = 0
    while index < input.count {
      if input[index] == UInt8(ascii: "%"), index + 2 < input.count,
        let high = nibble(input[index + 1]), let low = nibble(input[index + 2])
      {
        result.append(high << 4 | low)
        index += 3
      } else {
        result.append(input[index])
        index += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  private static let digits = Array("0123456789ABCDEF".utf8)

  private static func nibble(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    default: nil
    }
  }
}
