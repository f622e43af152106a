import ArgumentParser
import Foundation
import SkeinCore

/// How keys and values stand in lines of text.
enum TextEncoding: String, ExpressibleByArgument, CaseIterable {
  /// The bytes as they are.
  case text
  case hex
  case base64

  func write(_ bytes: UnsafeRawBufferPointer, to output: inout OutputBuffer) throws {
    switch self {
    case .text: try output.append(bytes)
    case .hex: try output.append(Self.hex(bytes))
    case .base64: try output.append(Data(bytes).base64EncodedString())
    }
  }

  /// - Throws: `LocalFailure` saying which character is wrong; never the bytes themselves, which may be secret.
  func decode(_ text: UnsafeRawBufferPointer) throws -> [UInt8] {
    switch self {
    case .text: return Array(text)
    case .hex: return try Self.bytes(hex: text)
    case .base64:
      guard let data = Data(base64Encoded: Data(text)) else {
        throw LocalFailure("not base64 (RFC 4648, with padding)")
      }
      return Array(data)
    }
  }

  private static func hex(_ bytes: UnsafeRawBufferPointer) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(unsafeUninitializedCapacity: bytes.count * 2) { out in
      for (index, byte) in bytes.enumerated() {
        out[2 * index] = digits[Int(byte >> 4)]
        out[2 * index + 1] = digits[Int(byte & 15)]
      }
      return bytes.count * 2
    }
  }

  private static func bytes(hex text: UnsafeRawBufferPointer) throws -> [UInt8] {
    guard text.count.isMultiple(of: 2) else { throw LocalFailure("hex needs an even number of digits") }
    var out: [UInt8] = []
    out.reserveCapacity(text.count / 2)
    for at in stride(from: 0, to: text.count, by: 2) {
      guard let high = digit(text[at]), let low = digit(text[at + 1]) else {
        throw LocalFailure("not hex: column \(at + 1)")
      }
      out.append(high << 4 | low)
    }
    return out
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x37
    case 0x61...0x66: byte - 0x57
    default: nil
    }
  }
}
