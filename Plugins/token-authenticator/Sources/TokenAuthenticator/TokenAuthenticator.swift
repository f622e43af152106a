import CTokenDigest
import FoundationEssentials
import SkeinPluginKit

/// Judges bearer tokens of the form `skein_<id>_<secret>` by the table that the broker gives it: who has a token that is
/// in it and has not expired is the principal that the table names. Everything else is denied, without saying why.
///
/// The table holds the SHA-256 of each secret. Ids are public and looked up as they are; secrets are compared by their
/// digests, in constant time, and an unknown id costs what a wrong secret costs.
final class TokenAuthenticator: Authenticator {
  private struct Config: Decodable {
    struct Token: Decodable {
      var id: String
      var sha256: String
      var tenant: String
      var principal: String
      var expires_ms: Int64
    }
    var tokens: [Token]
  }

  private struct Entry: Sendable {
    var digest: [UInt8]
    var tenant: String
    var principal: String
    var expiresMilliseconds: Int64
  }

  private let entries: [[UInt8]: Entry]
  /// What an unknown id is compared with; no secret has this digest.
  private let nobody = [UInt8](repeating: 0, count: 32)

  init(_ context: PluginContext) throws {
    let config = try context.config(Config.self)
    var entries: [[UInt8]: Entry] = [:]
    for (index, token) in config.tokens.enumerated() {
      guard let digest = Self.digest(token.sha256) else {
        throw PluginError.badConfig("tokens[\(index)].sha256 is not 64 hexadecimal digits")
      }
      guard !token.principal.isEmpty else {
        throw PluginError.badConfig("tokens[\(index)].principal is empty: a token stands for somebody")
      }
      let entry = Entry(
        digest: digest, tenant: token.tenant, principal: token.principal,
        expiresMilliseconds: token.expires_ms)
      guard entries.updateValue(entry, forKey: Array(token.id.utf8)) == nil else {
        throw PluginError.badConfig("tokens[\(index)].id stands twice")
      }
    }
    self.entries = entries
  }

  func step(_ step: AuthenticationStep, _ call: PluginCall) async throws -> AuthenticationAnswer {
    guard step.mechanism == "bearer" else {
      throw PluginError.unsupported("the mechanism is not bearer, the only one here")
    }
    guard let token = Token(step.message) else { throw PluginError.denied("") }
    let entry = entries[token.id]
    var digest = [UInt8](repeating: 0, count: 32)
    guard token_sha256(token.secret, token.secret.count, &digest) == 1 else {
      throw PluginError.failed("libcrypto makes no digest")
    }
    let isSame = token_digests_equal(digest, entry?.digest ?? nobody) == 1
    guard isSame, let entry, entry.expiresMilliseconds > Self.now else { throw PluginError.denied("") }
    return .principal(
      Principal(
        name: entry.principal, tenant: entry.tenant, expiresMilliseconds: entry.expiresMilliseconds))
  }

  /// Milliseconds since 1970 UTC.
  private static var now: Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }

  private static func digest(_ text: String) -> [UInt8]? {
    let digits = text.utf8.compactMap { Token.value($0) }
    guard digits.count == 64, text.utf8.count == 64 else { return nil }
    return stride(from: 0, to: 64, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }
}

/// `skein_`, 16 hexadecimal digits, `_`, 64 hexadecimal digits; lower case, and nothing else.
private struct Token {
  let id: [UInt8]
  let secret: [UInt8]

  init?(_ bytes: [UInt8]) {
    let prefix = Array("skein_".utf8)
    guard bytes.count == 87, bytes.starts(with: prefix), bytes[22] == UInt8(ascii: "_") else { return nil }
    id = Array(bytes[6..<22])
    secret = Array(bytes[23...])
    guard id.allSatisfy({ Self.value($0) != nil }), secret.allSatisfy({ Self.value($0) != nil }) else {
      return nil
    }
  }

  /// Of one hexadecimal digit.
  static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    default: nil
    }
  }
}
