import COpenSSL
package import SkeinCore

/// sha256, by OpenSSL, as hexadecimal text.
package enum Digest {
  package static let bytes = 32

  package static func sha256(_ data: UnsafeRawBufferPointer) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: bytes)
    var count: UInt32 = 0
    // An empty buffer may have no address; OpenSSL reads nothing of it.
    guard EVP_Digest(data.baseAddress, data.count, &digest, &count, EVP_sha256(), nil) == 1,
      count == UInt32(bytes)
    else { return [] }
    return digest
  }

  package static func hexadecimal(_ data: UnsafeRawBufferPointer) -> String { text(sha256(data)) }
  package static func hexadecimal(_ data: [UInt8]) -> String {
    data.withUnsafeBytes { hexadecimal($0) }
  }
  package static func hexadecimal(_ data: SharedBytes) -> String {
    data.withUnsafeBytes { hexadecimal($0) }
  }

  package static func text(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var out: [UInt8] = []
    for byte in bytes {
      out.append(digits[Int(byte >> 4)])
      out.append(digits[Int(byte & 15)])
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// Whether a text is a sha256 in lower-case hexadecimal, and so safe as a file's name.
  package static func isHexadecimal(_ text: String) -> Bool {
    text.utf8.count == 2 * bytes
      && text.utf8.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }
}
