import COpenSSL
import COpenSSLShims

/// An SSL_CTX: the settings of one server, or of one client's connections.
///
/// `@unchecked Sendable`: written in `init` only; libssl counts its references atomically and
/// SSL_new may be called from any thread.
final class TLSContext: @unchecked Sendable {
  enum Side { case server, client }

  let side: Side
  private let pointer: OpaquePointer
  /// The first is the one for clients that ask for no name.
  private var identities: [TLSIdentity] = []
  private var revocations: [OpaquePointer] = []

  private init(_ side: Side) throws(TLSConfigurationError) {
    let method = side == .server ? TLS_server_method() : TLS_client_method()
    guard let pointer = SSL_CTX_new(method) else {
      throw TLSConfigurationError(description: "TLS context: \(PEM.lastError())")
    }
    self.side = side
    self.pointer = pointer
    guard skein_ctx_harden(pointer) == 1 else {
      throw TLSConfigurationError(description: "TLS settings: \(PEM.lastError())")
    }
  }

  deinit {
    for list in revocations { X509_CRL_free(list) }
    SSL_CTX_free(pointer)
  }

  static func server(_ tls: ServerTLS) throws(TLSConfigurationError) -> TLSContext {
    let context = try TLSContext(.server)
    try context.use(
      try TLSIdentity(
        certificate: tls.certificateChain, key: tls.privateKey, isServer: true, what: "server"),
      what: "server")
    for (index, identity) in tls.additional.enumerated() {
      context.identities.append(
        try TLSIdentity(
          certificate: identity.certificateChain, key: identity.privateKey, isServer: true,
          what: "additional server \(index + 1)"))
    }
    try context.trust(tls.clientAuthorities, what: "client authorities", announce: true)
    if let revocations = tls.revocations { try context.revoke(revocations) }
    let required = tls.requiresClientCertificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0
    SSL_CTX_set_verify(context.pointer, SSL_VERIFY_PEER | required, nil)
    SSL_CTX_set_alpn_select_cb(context.pointer, selectH2, nil)
    if context.identities.count > 1 {
      // Unretained: every `TLSStream` keeps its context as long as its SSL.
      SSL_CTX_set_cert_cb(context.pointer, selectIdentity, Unmanaged.passUnretained(context).toOpaque())
    }
    return context
  }

  static func client(_ tls: ClientTLS) throws(TLSConfigurationError) -> TLSContext {
    let context = try TLSContext(.client)
    if let certificate = tls.certificateChain {
      guard let key = tls.privateKey else {
        throw TLSConfigurationError(description: "client certificate given without its key")
      }
      try context.use(try TLSIdentity(certificate: certificate, key: key, what: "client"), what: "client")
    }
    try context.trust(tls.trustRoots, what: "trust roots", announce: false)
    SSL_CTX_set_verify(context.pointer, SSL_VERIFY_PEER, nil)
    let protocols: [UInt8] = [2, UInt8(ascii: "h"), UInt8(ascii: "2")]
    guard SSL_CTX_set_alpn_protos(context.pointer, protocols, UInt32(protocols.count)) == 0 else {
      throw TLSConfigurationError(description: "ALPN: \(PEM.lastError())")
    }
    return context
  }

  /// A new SSL for one connection. Any thread.
  func makeSSL() -> OpaquePointer? { SSL_new(pointer) }

  // MARK: Loading

  private func use(_ identity: TLSIdentity, what: String) throws(TLSConfigurationError) {
    guard
      SSL_CTX_use_cert_and_key(pointer, identity.certificate, identity.key, identity.chain, 1) == 1,
      SSL_CTX_check_private_key(pointer) == 1
    else {
      throw TLSConfigurationError(description: "\(what) certificate: \(PEM.lastError())")
    }
    identities.append(identity)
  }

  /// The certificate for a name of SNI, or nil when the first one is as good as any.
  fileprivate func identity(for name: UnsafePointer<CChar>) -> TLSIdentity? {
    identities.first { $0.names(name) }
  }

  // MARK: Revocation

  private func revoke(_ source: PEMSource) throws(TLSConfigurationError) {
    let store = SSL_CTX_get_cert_store(pointer)
    revocations = try PEM.revocationLists(source)
    for list in revocations {
      guard X509_STORE_add_crl(store, list) == 1 else {
        throw TLSConfigurationError(description: "revocations: \(PEM.lastError())")
      }
    }
    // The client's own certificate; intermediates are revoked by taking them from the authorities.
    guard X509_STORE_set_flags(store, UInt(X509_V_FLAG_CRL_CHECK)) == 1 else {
      throw TLSConfigurationError(description: "revocations: \(PEM.lastError())")
    }
  }

  /// Whether one of the lists names this certificate. Any thread.
  func revokes(_ certificate: OpaquePointer) -> Bool {
    revocations.contains { list in
      guard X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_issuer_name(certificate)) == 0 else {
        return false
      }
      var entry: OpaquePointer?
      // 2 means removed from the list again.
      return X509_CRL_get0_by_cert(list, &entry, certificate) == 1
    }
  }

  private func trust(_ source: PEMSource, what: String, announce: Bool) throws(TLSConfigurationError) {
    let authorities = try PEM.certificates(source, what: what)
    defer { authorities.forEach { X509_free($0) } }
    let store = SSL_CTX_get_cert_store(pointer)
    for authority in authorities {
      guard X509_STORE_add_cert(store, authority) == 1 else {
        throw TLSConfigurationError(description: "\(what): \(PEM.lastError())")
      }
      if announce { SSL_CTX_add_client_CA(pointer, authority) }
    }
  }
}

/// Accepts h2 and nothing else.
private let selectH2:
  @convention(c) (
    OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt8>?>?, UnsafeMutablePointer<UInt8>?,
    UnsafePointer<UInt8>?, UInt32, UnsafeMutableRawPointer?
  ) -> Int32 = { _, out, outLength, offered, offeredLength, _ in
    guard let out, let outLength, let offered else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    var index = 0
    while index < Int(offeredLength) {
      let length = Int(offered[index])
      guard length <= Int(offeredLength) - index - 1 else { break }
      if length == 2, offered[index + 1] == UInt8(ascii: "h"), offered[index + 2] == UInt8(ascii: "2") {
        out.pointee = offered + index + 1
        outLength.pointee = 2
        return SSL_TLSEXT_ERR_OK
      }
      index += 1 + length
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
  }

/// Answers SNI with the certificate that carries the name.
private let selectIdentity: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Int32 = {
  ssl, context in
  guard let ssl, let context else { return 0 }
  guard let name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else { return 1 }
  let owner = Unmanaged<TLSContext>.fromOpaque(context).takeUnretainedValue()
  guard let identity = owner.identity(for: name) else { return 1 }
  return SSL_use_cert_and_key(ssl, identity.certificate, identity.key, identity.chain, 1)
}
