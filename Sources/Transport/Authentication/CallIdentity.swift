/// Who a call is from, as an authenticator has found it; never what a client says of itself.
///
/// A plain value; any thread.
package struct CallIdentity: Sendable, Hashable {
  package var tenant: String
  package var principal: String
  package var groups: [String] = []
  /// Until when this holds, in milliseconds since 1970 UTC; nil: as long as the connection lives.
  package var expiresMilliseconds: Int64?

  package init(
    tenant: String, principal: String, groups: [String] = [], expiresMilliseconds: Int64? = nil
  ) {
    self.tenant = tenant
    self.principal = principal
    self.groups = groups
    self.expiresMilliseconds = expiresMilliseconds
  }
}

/// What is known of a connection's client before it says a word: what an authenticator judges beside the token.
///
/// A plain value; any thread.
package struct ConnectionEvidence: Sendable, Hashable {
  /// The verified chain in DER, the client's certificate first; empty: it showed none.
  package var certificates: [[UInt8]] = []
  /// The name that it asked for (SNI); empty: none.
  package var serverName = ""
  /// `address:port`.
  package var address = ""
  /// 32 bytes that both ends of this TLS connection know and nobody else (RFC 9266); empty without TLS.
  package var tlsExporter: [UInt8] = []

  package init() {}
}
