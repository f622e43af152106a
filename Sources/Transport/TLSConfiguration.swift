/// A PEM text: a file, or its bytes.
package enum PEMSource: Sendable {
  case file(String)
  case bytes([UInt8])
}

/// What a server shows and whom it trusts. Client certificates are required unless it says otherwise.
package struct ServerTLS: Sendable {
  /// The server's certificate, then intermediates.
  package var certificateChain: PEMSource
  /// Unencrypted; P-256 recommended (a handshake costs a third of RSA-2048's).
  package var privateKey: PEMSource
  /// The authorities that sign client certificates.
  package var clientAuthorities: PEMSource
  /// False: a client may come without a certificate; one that it shows must still be good. Only for a listener
  /// that finds out otherwise who calls (`ServerConfiguration.authentication`).
  package var requiresClientCertificate = true
  /// Further certificates: a client that asks for a name (SNI) which one of them carries gets that one, in
  /// this order, after the first certificate above has been asked. A client that asks for no name, or for an
  /// unknown one, gets the first.
  package var additional: [Identity] = []
  /// Revocation lists (CRL), one for each authority that signs client certificates. nil: none is checked. A
  /// client whose authority has no list here, or an expired one, is refused.
  package var revocations: PEMSource?

  /// A certificate, then intermediates; and its key.
  package struct Identity: Sendable {
    package var certificateChain: PEMSource
    package var privateKey: PEMSource

    package init(certificateChain: PEMSource, privateKey: PEMSource) {
      self.certificateChain = certificateChain
      self.privateKey = privateKey
    }
  }

  package init(certificateChain: PEMSource, privateKey: PEMSource, clientAuthorities: PEMSource) {
    self.certificateChain = certificateChain
    self.privateKey = privateKey
    self.clientAuthorities = clientAuthorities
  }

  /// The files that all of this comes from; a change of one of them calls for `GRPCServer.reload`.
  package var files: [String] {
    ([certificateChain, privateKey, clientAuthorities, revocations]
      + additional.flatMap { [$0.certificateChain, $0.privateKey] }).compactMap {
        if case .file(let path)? = $0 { path } else { nil }
      }
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
  /// Shown with every call.
  package var token: CallToken?

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
