import Logging
import SkeinCore
import Transport
import Wire

/// `skein.v1.Access`. Only for callers with a client certificate (`Router.needsCertificate`): who has a token must not
/// be able to make itself another that outlives its revocation.
struct AccessService: Sendable {
  let context: BrokerContext

  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "CreateToken": context.admin.unary(call, principal, create)
    case "ListTokens": context.admin.unary(call, principal, list)
    case "RevokeToken": context.admin.unary(call, principal, revoke)
    default: nil
    }
  }

  @Sendable private func create(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try CreateTokenRequest(decoding: message)
    var violations: [Fault.FieldViolation] = []
    if !Principal.isValid(request.principal) {
      violations.append(
        .init(
          field: "principal",
          description: "\"\(request.principal.displayable)\" is not 1 to 63 of a-z 0-9 . _ -"))
    }
    let range = TokenRegistry.lifetimes
    if request.lifetimeMs != 0, !range.contains(request.lifetimeMs) {
      violations.append(
        .init(
          field: "lifetime_ms",
          description:
            "\(request.lifetimeMs) is outside \(range.lowerBound) (a minute) to \(range.upperBound) (366 days)"
        ))
    }
    if request.note.count > TokenRegistry.maximumNote {
      violations.append(
        .init(
          field: "note",
          description: "\(request.note.count) characters; at most \(TokenRegistry.maximumNote)"))
    }
    guard violations.isEmpty else {
      throw Fault(
        .invalidRequest,
        "no token was made: " + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        violations: violations)
    }
    let made = try await context.tokens.create(
      principal: request.principal, of: principal.tenant,
      lifetime: request.lifetimeMs == 0 ? TokenRegistry.standardLifetime : request.lifetimeMs,
      note: request.note, by: principal.name)
    context.audit(
      "token created", by: principal,
      [
        "token_id": made.token.id, "for": made.token.principal,
        "expires_ms": "\(made.token.expiresMilliseconds)",
      ])
    // So that it is good as soon as its owner has it.
    await context.authenticator?.refresh()
    return CreateTokenResponse(token: made.text, description: TokenDescription(made.token)).encoded()
  }

  @Sendable private func list(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try ListTokensRequest(decoding: message)
    return ListTokensResponse(
      tokens: context.tokens.list(of: principal.tenant, principal: request.principal).map(
        TokenDescription.init)
    ).encoded()
  }

  @Sendable private func revoke(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try RevokeTokenRequest(decoding: message)
    let token = try await context.tokens.revoke(request.tokenID, of: principal.tenant)
    context.audit("token revoked", by: principal, ["token_id": token.id, "for": token.principal])
    await context.authenticator?.refresh()
    return RevokeTokenResponse().encoded()
  }
}

extension TokenDescription {
  init(_ token: AccessToken) {
    self.init(
      tokenID: token.id, principal: token.principal, createdMs: token.createdMilliseconds,
      expiresMs: token.expiresMilliseconds, createdBy: token.createdBy, note: token.note)
  }
}
