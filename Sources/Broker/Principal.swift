package import SkeinCore
package import Transport

/// Who calls: read from the verified client certificate, or found by the listener's authenticator.
package struct Principal: Sendable, Hashable {
  package let tenant: TenantName
  package let name: String

  /// The principal that a certificate names in a SAN URI `skein:<tenant>/<principal>`.
  ///
  /// Exactly one such URI is allowed: with two, which of them acts would be a guess.
  /// - Throws: `UNAUTHENTICATED`, saying what is missing.
  package init(subjectAlternativeURIs: [String]) throws(Fault) {
    let ours = subjectAlternativeURIs.filter { $0.hasPrefix("skein:") }
    guard ours.count == 1, let uri = ours.first else {
      throw Fault(
        .unauthenticated,
        "the client certificate has \(ours.count) SAN URIs of the form skein:<tenant>/<principal>, exactly 1 is needed; issue one with it"
      )
    }
    let parts = uri.dropFirst("skein:".count).split(
      separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, Self.valid(parts[0]), Self.valid(parts[1]) else {
      throw Fault(
        .unauthenticated,
        "the client certificate's SAN URI \"\(uri.displayable)\" is not skein:<tenant>/<principal> with 1 to 63 of a-z 0-9 . _ - each"
      )
    }
    self.tenant = TenantName(rawValue: String(parts[0]))
    self.name = String(parts[1])
  }

  /// Who calls: by the listener's authenticator where there is one, else by the certificate.
  package init(_ peer: PeerIdentity) throws(Fault) {
    guard let bearer = peer.bearer else {
      try self.init(subjectAlternativeURIs: peer.subjectAlternativeURIs)
      return
    }
    self.init(tenant: TenantName(rawValue: bearer.tenant), name: bearer.principal)
  }

  private init(tenant: TenantName, name: String) {
    self.tenant = tenant
    self.name = name
  }

  /// Whether a tenant or principal may be called so: 1 to 63 of a-z 0-9 . _ -
  static func isValid(_ name: String) -> Bool { valid(name[...]) }

  private static func valid(_ part: Substring) -> Bool {
    (1...63).contains(part.utf8.count)
      && part.utf8.allSatisfy {
        switch $0 {
        case 0x30...0x39, 0x61...0x7a, 0x2e, 0x5f, 0x2d: true
        default: false
        }
      }
  }
}
