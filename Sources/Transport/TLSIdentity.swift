import COpenSSL
import COpenSSLShims

/// A certificate with its chain and its key, checked against each other.
///
/// `@unchecked Sendable`: immutable, written in `init` only; libssl takes its own references.
final class TLSIdentity: @unchecked Sendable {
  let certificate: OpaquePointer
  let key: OpaquePointer
  /// Intermediates, as OpenSSL's stack; nil: none.
  let chain: OpaquePointer?

  /// - Parameter isServer: it is to be shown to clients, who refuse one that its issuer did not make for servers.
  init(
    certificate source: PEMSource, key keySource: PEMSource, isServer: Bool = false, what: String
  ) throws(TLSConfigurationError) {
    let key = try PEM.key(keySource, what: "\(what) key")
    let certificates: [OpaquePointer]
    do throws(TLSConfigurationError) {
      certificates = try PEM.certificates(source, what: "\(what) certificate")
    } catch {
      EVP_PKEY_free(key)
      throw error
    }
    self.key = key
    certificate = certificates[0]
    chain = certificates.count > 1 ? skein_x509_stack_new() : nil
    for intermediate in certificates.dropFirst() {
      // The stack takes the reference over.
      if skein_x509_stack_push(chain, intermediate) != 1 { X509_free(intermediate) }
    }
    // From here on `deinit` frees everything.
    guard X509_check_private_key(certificate, key) == 1 else {
      throw TLSConfigurationError(
        description:
          "\(what) key \(PEM.name(keySource)) does not belong to its certificate: \(PEM.lastError())")
    }
    // Easily mistaken: SKEIN_TLS_CERTIFICATE names a client's certificate to clients, and the broker's to a broker.
    guard !isServer || X509_check_purpose(certificate, X509_PURPOSE_SSL_SERVER, 0) == 1 else {
      throw TLSConfigurationError(
        description:
          "\(what) certificate \(PEM.name(source)) is not for servers, by its key usage; clients would refuse it. Is it a client's?"
      )
    }
  }

  deinit {
    X509_free(certificate)
    EVP_PKEY_free(key)
    skein_x509_stack_free(chain)
  }

  /// Whether the certificate carries this DNS name, wildcards of a whole label included.
  func names(_ name: UnsafePointer<CChar>) -> Bool {
    let flags = UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
    return X509_check_host(certificate, name, 0, flags, nil) == 1
  }
}
