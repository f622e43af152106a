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

  private init(_ side: Side) throws(TLSConfigurationError) {
    let method = side == .server ? TLS_server_method() : TLS_client_method()
    guard let pointer = SSL_CTX_new(method) else {
      throw TLSConfigurationError(description: "TLS context: \(Self.lastError())")
    }
    self.side = side
    self.pointer = pointer
    guard skein_ctx_harden(pointer) == 1 else {
      throw TLSConfigurationError(description: "TLS settings: \(Self.lastError())")
    }
  }

  deinit { SSL_CTX_free(pointer) }

  static func server(_ tls: ServerTLS) throws(TLSConfigurationError) -> TLSContext {
    let context = try TLSContext(.server)
    try context.use(certificate: tls.certificateChain, key: tls.privateKey, what: "server")
    try context.trust(tls.clientAuthorities, what: "client authorities", announce: true)
    SSL_CTX_set_verify(context.pointer, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
    SSL_CTX_set_alpn_select_cb(context.pointer, selectH2, nil)
    return context
  }

  static func client(_ tls: ClientTLS) throws(TLSConfigurationError) -> TLSContext {
    let context = try TLSContext(.client)
    if let certificate = tls.certificateChain {
      guard let key = tls.privateKey else {
        throw TLSConfigurationError(description: "client certificate given without its key")
      }
      try context.use(certificate: certificate, key: key, what: "client")
    }
    try context.trust(tls.trustRoots, what: "trust roots", announce: false)
    SSL_CTX_set_verify(context.pointer, SSL_VERIFY_PEER, nil)
    let protocols: [UInt8] = [2, UInt8(ascii: "h"), UInt8(ascii: "2")]
    guard SSL_CTX_set_alpn_protos(context.pointer, protocols, UInt32(protocols.count)) == 0 else {
      throw TLSConfigurationError(description: "ALPN: \(lastError())")
    }
    return context
  }

  /// A new SSL for one connection. Any thread.
  func makeSSL() -> OpaquePointer? { SSL_new(pointer) }

  // MARK: Loading

  private func use(certificate: PEMSource, key: PEMSource, what: String) throws(TLSConfigurationError) {
    let chain = try Self.certificates(certificate, what: "\(what) certificate")
    defer { chain.forEach { X509_free($0) } }
    guard SSL_CTX_use_certificate(pointer, chain[0]) == 1 else {
      throw TLSConfigurationError(description: "\(what) certificate: \(Self.lastError())")
    }
    for intermediate in chain.dropFirst() {
      // add1: the context takes its own reference.
      guard SSL_CTX_ctrl(pointer, SSL_CTRL_CHAIN_CERT, 1, UnsafeMutableRawPointer(intermediate)) == 1 else {
        throw TLSConfigurationError(description: "\(what) intermediate: \(Self.lastError())")
      }
    }
    let bio = try Self.open(key, what: "\(what) key")
    defer { BIO_free(bio) }
    guard let loaded = PEM_read_bio_PrivateKey(bio, nil, noPassword, nil) else {
      throw TLSConfigurationError(
        description:
          "\(what) key: \(Self.lastError()) (\(Self.name(key)) must hold an unencrypted private key)")
    }
    defer { EVP_PKEY_free(loaded) }
    guard SSL_CTX_use_PrivateKey(pointer, loaded) == 1, SSL_CTX_check_private_key(pointer) == 1 else {
      throw TLSConfigurationError(
        description: "\(what) key \(Self.name(key)) does not belong to its certificate: \(Self.lastError())")
    }
  }

  private func trust(_ source: PEMSource, what: String, announce: Bool) throws(TLSConfigurationError) {
    let authorities = try Self.certificates(source, what: what)
    defer { authorities.forEach { X509_free($0) } }
    let store = SSL_CTX_get_cert_store(pointer)
    for authority in authorities {
      guard X509_STORE_add_cert(store, authority) == 1 else {
        throw TLSConfigurationError(description: "\(what): \(Self.lastError())")
      }
      if announce { SSL_CTX_add_client_CA(pointer, authority) }
    }
  }

  /// All certificates of a PEM text, at least one; the caller frees them.
  private static func certificates(
    _ source: PEMSource, what: String
  ) throws(TLSConfigurationError) -> [OpaquePointer] {
    let bio = try open(source, what: what)
    defer { BIO_free(bio) }
    var result: [OpaquePointer] = []
    while let certificate = PEM_read_bio_X509(bio, nil, noPassword, nil) { result.append(certificate) }
    ERR_clear_error()  // the end of the text is an error to OpenSSL
    guard !result.isEmpty else {
      throw TLSConfigurationError(description: "\(what): no certificate in \(name(source))")
    }
    return result
  }

  private static func open(_ source: PEMSource, what: String) throws(TLSConfigurationError) -> OpaquePointer {
    ERR_clear_error()
    let bio: OpaquePointer? =
      switch source {
      case .file(let path): BIO_new_file(path, "r")
      case .bytes(let bytes): memoryBIO(bytes)
      }
    guard let bio else {
      throw TLSConfigurationError(description: "\(what): cannot read \(name(source)): \(lastError())")
    }
    return bio
  }

  /// A memory BIO with its own copy of the bytes.
  private static func memoryBIO(_ bytes: [UInt8]) -> OpaquePointer? {
    guard let bio = BIO_new(BIO_s_mem()) else { return nil }
    guard let count = Int32(exactly: bytes.count), BIO_write(bio, bytes, count) == count else {
      BIO_free(bio)
      return nil
    }
    return bio
  }

  private static func name(_ source: PEMSource) -> String {
    switch source {
    case .file(let path): path
    case .bytes(let bytes): "the given \(bytes.count) bytes"
    }
  }

  private static func lastError() -> String {
    TLSFailure.queued()?.text ?? "unknown error"
  }
}

/// Never asks a terminal for a password: an encrypted key is an error.
private let noPassword:
  @convention(c) (UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?) -> Int32 = {
    _, _, _, _ in 0
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
