import COpenSSL
import COpenSSLShims

/// Reads PEM texts with OpenSSL. What it returns belongs to the caller, who frees it.
enum PEM {
  /// All certificates, at least one.
  static func certificates(
    _ source: PEMSource, what: String
  ) throws(TLSConfigurationError) -> [OpaquePointer] {
    let bio = try open(source, what: what)
    defer { BIO_free(bio) }
    var result: [OpaquePointer] = []
    while let certificate = PEM_read_bio_X509(bio, nil, noPassword, nil) { result.append(certificate) }
    guard isAtEnd() else {
      result.forEach { X509_free($0) }
      throw TLSConfigurationError(description: "\(what): \(name(source)) is not whole: \(lastError())")
    }
    guard !result.isEmpty else {
      throw TLSConfigurationError(description: "\(what): no certificate in \(name(source))")
    }
    return result
  }

  /// All revocation lists, at least one.
  static func revocationLists(_ source: PEMSource) throws(TLSConfigurationError) -> [OpaquePointer] {
    let bio = try open(source, what: "revocations")
    defer { BIO_free(bio) }
    var result: [OpaquePointer] = []
    while let list = PEM_read_bio_X509_CRL(bio, nil, noPassword, nil) { result.append(list) }
    guard isAtEnd(), !result.isEmpty else {
      result.forEach { X509_CRL_free($0) }
      throw TLSConfigurationError(
        description: "revocations: no whole revocation list (X509 CRL) in \(name(source))")
    }
    return result
  }

  static func key(_ source: PEMSource, what: String) throws(TLSConfigurationError) -> OpaquePointer {
    let bio = try open(source, what: what)
    defer { BIO_free(bio) }
    guard let key = PEM_read_bio_PrivateKey(bio, nil, noPassword, nil) else {
      throw TLSConfigurationError(
        description: "\(what): \(lastError()) (\(name(source)) must hold an unencrypted private key)")
    }
    return key
  }

  static func name(_ source: PEMSource) -> String {
    switch source {
    case .file(let path): path
    case .bytes(let bytes): "the given \(bytes.count) bytes"
    }
  }

  /// Clears the error queue.
  static func lastError() -> String { TLSFailure.queued()?.text ?? "unknown error" }

  /// The end of the text is an error to OpenSSL, and the only one that is none to us. Clears it; any other is
  /// kept for `lastError`.
  private static func isAtEnd() -> Bool {
    let error = ERR_peek_last_error()
    guard error == 0 || skein_error_is_end_of_pem(error) == 1 else { return false }
    ERR_clear_error()
    return true
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
}

/// Never asks a terminal for a password: an encrypted key is an error.
private let noPassword:
  @convention(c) (UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?) -> Int32 = {
    _, _, _, _ in 0
  }
