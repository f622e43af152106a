package import NIOCore

/// Finds out who calls. Any thread.
package protocol CallAuthenticator: AnyObject, Sendable {
  /// Judges one credential. `answer` is called exactly once, on `loop`, at the latest at `deadline`; what comes
  /// later is ignored. Every failure is a refusal: its code is UNAUTHENTICATED (this credential is no good)
  /// or UNAVAILABLE (nobody could judge it).
  func authenticate(
    _ credential: CallCredential, _ evidence: ConnectionEvidence, deadline: NIODeadline,
    on loop: any EventLoop, _ answer: @escaping @Sendable (Result<CallIdentity, GRPCStatus>) -> Void)
}

/// Makes a server one whose calls each carry a bearer token, `authorization: Bearer …`, which is judged before
/// the call has a handler. Client certificates are not asked for; one that is shown is verified, and counts
/// as evidence only.
///
/// Until a connection's first token was found good it is held to the small limits below. An answer is
/// remembered per connection until it expires or `GRPCServer.credentialsChanged` says that it may not hold
/// any more; running calls end with it.
package struct ServerAuthentication: Sendable {
  package var authenticator: any CallAuthenticator
  package var limits = AuthenticationLimits()
  /// Milliseconds since 1970 UTC.
  package var wallMilliseconds: @Sendable () -> Int64 = { SystemClock.wallSeconds * 1_000 }

  package init(authenticator: any CallAuthenticator) { self.authenticator = authenticator }
}

/// Every bound on clients that are not known yet, with its unit, default, and what happens at the bound.
package struct AuthenticationLimits: Sendable {
  /// HTTP/2 receive window of the connection until it is authenticated, and of each call until it is, in bytes.
  /// 65,535 is the protocol's own start. It bounds what is held for a call that waits for its answer.
  package var windowBytes: Int32 = 65_535
  /// Open calls of a connection that is not authenticated. Over it: REFUSED_STREAM.
  package var maxCalls: UInt32 = 32
  /// Bytes held for waiting calls of all connections together. Over it: RESOURCE_EXHAUSTED.
  package var heldBytes = 32 << 20
  /// From TLS to the first token that was found good. Past it: closed. Such connections count as handshakes
  /// (`TransportLimits.maxHandshakes`).
  package var authenticationTimeout: TimeAmount = .seconds(10)
  /// For one answer of the authenticator. Past it: refused.
  package var answerTimeout: TimeAmount = .seconds(2)
  /// How long running calls may go on while nobody can judge their token anew. Past it: they end.
  package var recheckWindow: TimeAmount = .seconds(3)
  package var recheckPause: TimeAmount = .milliseconds(250)
  /// Tokens that one connection uses at once. Over it: the one that is used by no call and longest ago is
  /// forgotten; if there is none, RESOURCE_EXHAUSTED.
  package var maxTokens = 16
  /// Refused tokens of a connection: a bucket of this many, refilled per second. Over it: closed.
  package var refusalBurst: UInt64 = 20
  package var refusalsPerSecond: UInt64 = 1

  package init() {}
}
