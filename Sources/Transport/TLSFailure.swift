import COpenSSL
import COpenSSLShims

/// Why TLS did not come about, or ended: a kind for programs and a sentence for people.
struct TLSFailure: Error, Sendable, Equatable {
  enum Kind: Sendable, Equatable {
    /// The peer's certificate does not lead to an authority that we trust.
    case untrusted
    case expired
    /// It is trusted, but for another host.
    case hostnameMismatch
    /// The peer showed no certificate.
    case noCertificate
    /// The peer refused our certificate, or asked for one that we have not.
    case certificateRefused
    /// No common application protocol.
    case alpn
    /// Not TLS at all, or any other error.
    case other
  }

  var kind: Kind
  var text: String

  /// The oldest error of this thread's queue, which it clears.
  static func queued() -> (reason: Int32, text: String)? {
    var buffer = [CChar](repeating: 0, count: 160)
    let reason = skein_error_take(&buffer, buffer.count)
    guard reason != 0 else { return nil }
    let text = buffer.withUnsafeBufferPointer { chars in
      String(decoding: chars.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    return (reason, text.isEmpty ? "error \(reason)" : text)
  }

  /// The failure of the call into libssl that has just returned. Clears the error queue.
  static func current(_ ssl: OpaquePointer) -> TLSFailure {
    let verify = SSL_get_verify_result(ssl)
    let error = queued()
    if error?.reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE {
      return TLSFailure(kind: .noCertificate, text: "the peer gave no certificate")
    }
    if verify != Int(X509_V_OK) { return verification(verify) }
    guard let error else {
      return TLSFailure(kind: .other, text: "the peer closed the connection during the handshake")
    }
    return TLSFailure(kind: kind(ofReason: error.reason), text: error.text)
  }

  private static func verification(_ code: Int) -> TLSFailure {
    let words = X509_verify_cert_error_string(code).map { String(cString: $0) } ?? "error \(code)"
    switch Int32(truncatingIfNeeded: code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return TLSFailure(kind: .expired, text: "the peer's certificate has expired")
    case X509_V_ERR_CERT_REVOKED:
      return TLSFailure(kind: .untrusted, text: "the peer's certificate has been revoked")
    case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
      return TLSFailure(
        kind: .hostnameMismatch, text: "the peer's certificate is for another host (\(words))")
    default:
      return TLSFailure(kind: .untrusted, text: "the peer's certificate is not trusted (\(words))")
    }
  }

  private static func kind(ofReason reason: Int32) -> Kind {
    switch reason {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, SSL_R_TLSV1_ALERT_UNKNOWN_CA,
      SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
      SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
      SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, SSL_R_TLSV1_ALERT_ACCESS_DENIED:
      .certificateRefused
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, SSL_R_NO_APPLICATION_PROTOCOL: .alpn
    default: .other
    }
  }
}
