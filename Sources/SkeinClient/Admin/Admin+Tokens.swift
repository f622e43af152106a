import Wire

/// What a broker knows of a bearer token: everything but its secret.
public struct TokenInfo: Sendable, Hashable {
  /// Public part of the token; what `revokeToken` takes.
  public var id: String
  public var principal: String
  /// Milliseconds since 1970 UTC.
  public var created: Int64
  public var expires: Int64
  public var createdBy: String
  public var note: String
}

/// A token that was just made. Nothing but `secret` shows it, and the broker cannot show it again.
public struct IssuedToken: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
  public let info: TokenInfo
  /// The text that a client sends. Put it where secrets are kept.
  public let secret: String

  public var description: String { "the token \(info.id) of \(info.principal) (secret not shown)" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// Tokens for clients without a certificate. Only for callers with one.
extension Admin {
  /// Makes a token for a principal of the caller's tenant. A principal has at most two, so that one can be replaced while
  /// it is used.
  /// - Parameter lifetime: 1 minute to 366 days; nil: 90 days.
  /// - Throws: TOKEN_LIMIT, INVALID_REQUEST; METADATA_UNAVAILABLE with unknown outcome.
  public func createToken(
    principal: String, lifetime: Duration? = nil, note: String = ""
  ) async throws(SkeinError) -> IssuedToken {
    let milliseconds = lifetime.map { $0.nanosecondsClamped / 1_000_000 } ?? 0
    if lifetime != nil, milliseconds == 0 {
      throw SkeinError(.invalidRequest, "a token's lifetime must be 1 minute to 366 days")
    }
    let reply = try await client.unary(
      AccessMethod.createToken,
      CreateTokenRequest(principal: principal, lifetimeMs: milliseconds, note: note),
      CreateTokenResponse.self)
    return IssuedToken(info: TokenInfo(reply.description ?? TokenDescription()), secret: reply.token)
  }

  /// The live tokens, oldest first.
  /// - Parameter principal: empty is all.
  public func listTokens(principal: String = "") async throws(SkeinError) -> [TokenInfo] {
    try await client.unary(
      AccessMethod.listTokens, ListTokensRequest(principal: principal), ListTokensResponse.self
    ).tokens.map(TokenInfo.init)
  }

  /// Ends a token; calls and streams that use it end within seconds.
  /// - Throws: TOKEN_NOT_FOUND.
  public func revokeToken(_ id: String) async throws(SkeinError) {
    _ = try await client.unary(
      AccessMethod.revokeToken, RevokeTokenRequest(tokenID: id), RevokeTokenResponse.self)
  }
}

extension TokenInfo {
  init(_ token: TokenDescription) {
    self.init(
      id: token.tokenID, principal: token.principal, created: token.createdMs, expires: token.expiresMs,
      createdBy: token.createdBy, note: token.note)
  }
}
