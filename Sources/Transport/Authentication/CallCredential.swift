import COpenSSL

/// The bearer token of a call, as it was sent. It prints as a placeholder wherever it is shown.
///
/// A plain value; any thread.
package struct CallCredential: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  /// Names a credential without holding it: the SHA-256 of its bytes.
  struct Key: Hashable, Sendable { fileprivate let digest: [UInt8] }

  /// The longest token, in bytes. Longer: refused before anything is asked.
  package static let maximumBytes = 1_024

  /// The token alone, without `Bearer`.
  package let token: [UInt8]
  let key: Key

  package var description: String { "a token (not shown)" }
  package var debugDescription: String { description }
  package var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }

  /// The credential of a request: exactly one `authorization` value, `Bearer`, one blank, a token of RFC 6750's
  /// characters. nil: anything else. Absent is not a credential.
  package init?(authorization values: [[UInt8]]) {
    guard values.count == 1, let value = values.first else { return nil }
    let scheme = Array("bearer ".utf8)
    guard value.count > scheme.count, value.count <= scheme.count + Self.maximumBytes,
      zip(value, scheme).allSatisfy({ Self.lowercased($0) == $1 })
    else { return nil }
    let token = Array(value[scheme.count...])
    guard token.allSatisfy(Self.isTokenByte), let digest = Self.sha256(token) else { return nil }
    self.token = token
    key = Key(digest: digest)
  }

  private static func lowercased(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
  }

  private static func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "~"), UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="):
      true
    default: false
    }
  }

  /// nil when libcrypto has no memory.
  package static func sha256(_ bytes: [UInt8]) -> [UInt8]? {
    var digest = [UInt8](repeating: 0, count: 32)
    var count: UInt32 = 0
    guard EVP_Digest(bytes, bytes.count, &digest, &count, EVP_sha256(), nil) == 1, count == 32 else {
      return nil
    }
    return digest
  }
}
