import SkeinCore
import Transport

/// What the broker knows of a bearer token: everything but its secret.
///
/// The token is `skein_<id>_<secret>`: 16 and 64 hexadecimal digits. The secret is 256 random bits, so its plain
/// SHA-256 is safe to keep: there is nothing to guess. A value; any thread.
struct AccessToken: Sendable, Hashable {
  static let prefix = "skein_"

  /// 16 hexadecimal digits; public.
  let id: String
  let tenant: TenantName
  let principal: String
  /// Of the secret's 64 characters, as they stand in the token.
  let secretHash: [UInt8]
  let createdMilliseconds: Int64
  let expiresMilliseconds: Int64
  let createdBy: String
  let note: String

  func isLive(at now: Int64) -> Bool { expiresMilliseconds > now }
}

/// A token that was just made: the only moment at which its text exists here. It does not print.
struct NewToken: Sendable, CustomStringConvertible, CustomReflectable {
  let text: String
  let token: AccessToken

  var description: String { "the token \(token.id) (secret not shown)" }
  var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// The random part of a token.
struct TokenSecret: Sendable {
  let id: String
  let text: String
  let hash: [UInt8]

  /// nil when libcrypto has no memory.
  init?(from random: any RandomSource) {
    id = Self.hexadecimal(random.next())
    let secret = (0..<4).map { _ in Self.hexadecimal(random.next()) }.joined()
    guard let hash = CallCredential.sha256(Array(secret.utf8)) else { return nil }
    self.hash = hash
    text = "\(AccessToken.prefix)\(id)_\(secret)"
  }

  private static func hexadecimal(_ bits: UInt64) -> String {
    let digits = String(bits, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
