import COpenSSL
package import SkeinCore

/// What a PEM file's certificates say, for people: subject, names, dates. It verifies nothing; that is
/// TLS's work.
///
/// A plain value; any thread.
package struct CertificateSummary: Sendable, Hashable {
  package var commonName: String
  /// Subject alternative names as OpenSSL prints them, e.g. `DNS:localhost`, `URI:skein:default/admin`.
  package var names: [String]
  /// Seconds until it begins to be valid; negative when it has begun.
  package var secondsUntilStart: Int64
  /// Seconds until it ends; negative when it has expired.
  package var secondsUntilEnd: Int64
  /// The certificate and the private key that was given belong together; nil without a key.
  package var matchesKey: Bool?

  /// At most so many certificates of one file are read.
  package static let most = 1000

  /// - Parameters:
  ///   - pem: one or more certificates.
  ///   - key: the private key of the first, unencrypted; nil leaves `matchesKey` nil.
  /// - Throws: INVALID_REQUEST when there is no certificate, or the key cannot be read.
  package static func read(pem: [UInt8], key: [UInt8]? = nil) throws(Fault) -> [CertificateSummary] {
    ERR_clear_error()
    defer { ERR_clear_error() }
    guard let bio = memory(pem) else { throw Fault(.invalidRequest, "the file is too large") }
    defer { BIO_free(bio) }
    var found: [CertificateSummary] = []
    while found.count < most, let x509 = PEM_read_bio_X509(bio, nil, nil, nil) {
      defer { X509_free(x509) }
      var summary = summary(x509)
      if found.isEmpty, let key { summary.matchesKey = try matches(x509, key) }
      found.append(summary)
    }
    guard !found.isEmpty else { throw Fault(.invalidRequest, "it holds no PEM certificate that can be read") }
    return found
  }

  private static func matches(_ x509: OpaquePointer, _ pem: [UInt8]) throws(Fault) -> Bool {
    guard let bio = memory(pem) else { throw Fault(.invalidRequest, "the key's file is too large") }
    defer { BIO_free(bio) }
    // An empty passphrase instead of none: OpenSSL would ask for one on the terminal.
    var empty: CChar = 0
    guard let key = PEM_read_bio_PrivateKey(bio, nil, nil, &empty) else {
      throw Fault(.invalidRequest, "it holds no unencrypted PEM private key")
    }
    defer { EVP_PKEY_free(key) }
    return X509_check_private_key(x509, key) == 1
  }

  private static func summary(_ x509: OpaquePointer) -> CertificateSummary {
    CertificateSummary(
      commonName: commonName(x509), names: names(x509),
      secondsUntilStart: seconds(until: X509_get0_notBefore(x509)),
      secondsUntilEnd: seconds(until: X509_get0_notAfter(x509)))
  }

  private static func commonName(_ x509: OpaquePointer) -> String {
    var text = [CChar](repeating: 0, count: 256)
    let length = X509_NAME_get_text_by_NID(
      X509_get_subject_name(x509), NID_commonName, &text, Int32(text.count))
    guard length > 0 else { return "" }
    return String(decoding: text.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The extension as OpenSSL prints it, `DNS:a, IP Address:1.2.3.4`, in its parts.
  private static func names(_ x509: OpaquePointer) -> [String] {
    let index = X509_get_ext_by_NID(x509, NID_subject_alt_name, -1)
    guard index >= 0, let ext = X509_get_ext(x509, index), let bio = BIO_new(BIO_s_mem()) else { return [] }
    defer { BIO_free(bio) }
    guard X509V3_EXT_print(bio, ext, 0, 0) == 1 else { return [] }
    var text = [UInt8](repeating: 0, count: min(BIO_ctrl_pending(bio), 65_536))
    let count = BIO_read(bio, &text, Int32(text.count))
    guard count > 0 else { return [] }
    return String(decoding: text.prefix(Int(count)), as: UTF8.self).split(separator: ", ").map(String.init)
  }

  private static func seconds(until time: UnsafePointer<ASN1_TIME>?) -> Int64 {
    var (days, seconds) = (Int32(0), Int32(0))
    // From now: no first time is given.
    guard ASN1_TIME_diff(&days, &seconds, nil, time) == 1 else { return 0 }
    return Int64(days) * 86_400 + Int64(seconds)
  }

  private static func memory(_ bytes: [UInt8]) -> OpaquePointer? {
    guard let count = Int32(exactly: bytes.count), let bio = BIO_new(BIO_s_mem()) else { return nil }
    guard BIO_write(bio, bytes, count) == count else {
      BIO_free(bio)
      return nil
    }
    return bio
  }
}
