/// A PEM text: a file, or its bytes.
package enum PEMSource: Sendable {
  case file(String)
  case bytes([UInt8])
}

/// What a server shows and whom it trusts. Client certificates are always required.
package struct ServerTLS: Sendable {
  /// The server's certificate, then intermediates.
  package var certificateChain: PEMSource
  /// Unencrypted; P-256 recommended (a handshake costs a third of RSA-2048's).
  package var privateKey: PEMSource
  /// The authorities that sign client certificates.
  package var clientAuthorities: PEMSource

  package init(certificateChain: PEMSource, privateKey: PEMSource, clientAuthorities: PEMSource) {
    self.certificateChain = certificateChain
    self.privateKey = privateKey
    self.clientAuthorities = clientAuthorities
  }
}

/// Whom a client trusts, and what it shows.
package struct ClientTLS: Sendable {
  /// The authorities that sign server certificates.
  package var trustRoots: PEMSource
  package var certificateChain: PEMSource?
  package var privateKey: PEMSource?
  /// The name or IP address that the server's certificate must carry; nil: the host of `connect`.
  package var serverName: String?

  package init(
    trustRoots: PEMSource, certificateChain: PEMSource? = nil, privateKey: PEMSource? = nil,
    serverName: String? = nil
  ) {
    self.trustRoots = trustRoots
    self.certificateChain = certificateChain
    self.privateKey = privateKey
    self.serverName = serverName
  }
}

/// A certificate, key or list of authorities could not be used; the text names which and why.
package struct TLSConfigurationError: Error, Sendable, CustomStringConvertible {
  package let description: String
}
