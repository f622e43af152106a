import COpenSSL
package import SkeinCore

/// Makes the P-256 keys and X.509 certificates of `skeind --dev` and of tests, with OpenSSL. It is
/// not a certificate authority for production: use your own.
///
/// Threading: any thread; nothing is shared between calls.
package struct CertificateIssuer {
  /// A private key and its certificate, PEM.
  package struct Identity: Sendable {
    package let certificate: [UInt8]
    package let key: [UInt8]
  }

  package enum Usage: Sendable {
    case server
    case client
  }

  private let authority: OwnedCertificate

  /// A new authority, or one from the PEM of an earlier one.
  package init(commonName: String, days: Int = 3650) throws(Fault) {
    let key = try OwnedKey.generate()
    authority = try OwnedCertificate.issue(
      commonName: commonName, key: key, by: nil, days: days,
      extensions: [
        (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
        (NID_key_usage, "critical,keyCertSign,cRLSign"), (NID_subject_key_identifier, "hash"),
      ])
  }

  /// For `revocationList`.
  var certificate: OpaquePointer { authority.pointer }
  var signingKey: OpaquePointer { authority.key.pointer }

  package var identity: Identity {
    get throws(Fault) { try authority.pem() }
  }

  /// - Parameters:
  ///   - names: subject alternative names in OpenSSL's notation, e.g. `DNS:localhost`,
  ///     `IP:127.0.0.1`, `URI:skein:default/admin`.
  ///   - days: validity; negative gives a certificate that has expired (for tests).
  package func issue(
    commonName: String, names: [String], usage: Usage, days: Int = 825
  ) throws(Fault) -> Identity {
    let key = try OwnedKey.generate()
    let certificate = try OwnedCertificate.issue(
      commonName: commonName, key: key, by: authority, days: days,
      extensions: [
        (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
        (NID_ext_key_usage, usage == .server ? "serverAuth" : "clientAuth"),
        (NID_subject_alt_name, names.joined(separator: ",")),
        (NID_subject_key_identifier, "hash"), (NID_authority_key_identifier, "keyid"),
      ])
    return try certificate.pem()
  }
}

/// An EVP_PKEY that frees itself.
private final class OwnedKey {
  let pointer: OpaquePointer

  private init(_ pointer: OpaquePointer) { self.pointer = pointer }
  deinit { EVP_PKEY_free(pointer) }

  static func generate() throws(Fault) -> OwnedKey {
    guard let context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil) else { throw failure("make a key") }
    defer { EVP_PKEY_CTX_free(context) }
    var key: OpaquePointer?
    guard EVP_PKEY_keygen_init(context) == 1,
      EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1,
      EVP_PKEY_keygen(context, &key) == 1, let key
    else { throw failure("make a key") }
    return OwnedKey(key)
  }
}

/// An X509 with its key.
private final class OwnedCertificate {
  let pointer: OpaquePointer
  let key: OwnedKey

  private init(_ pointer: OpaquePointer, _ key: OwnedKey) {
    self.pointer = pointer
    self.key = key
  }
  deinit { X509_free(pointer) }

  static func issue(
    commonName: String, key: OwnedKey, by issuer: OwnedCertificate?, days: Int,
    extensions: [(Int32, String)]
  ) throws(Fault) -> OwnedCertificate {
    guard let x509 = X509_new() else { throw failure("make a certificate") }
    let certificate = OwnedCertificate(x509, key)
    let issuer = issuer ?? certificate
    let day = 86_400
    guard X509_set_version(x509, 2) == 1, setSerial(x509), setName(x509, commonName),
      X509_set_issuer_name(x509, X509_get_subject_name(issuer.pointer)) == 1,
      // A day in the past, for clocks that differ; an expired one began long ago.
      X509_gmtime_adj(X509_getm_notBefore(x509), days < 0 ? 10 * days * day : -day) != nil,
      X509_gmtime_adj(X509_getm_notAfter(x509), days * day) != nil,
      X509_set_pubkey(x509, key.pointer) == 1
    else { throw failure("fill a certificate") }
    for (nid, value) in extensions {
      try add(nid, value, to: x509, issuer: issuer.pointer)
    }
    guard X509_sign(x509, issuer.key.pointer, EVP_sha256()) > 0 else {
      throw failure("sign a certificate")
    }
    return certificate
  }

  private static func setSerial(_ x509: OpaquePointer) -> Bool {
    var serial: UInt64 = 0
    guard withUnsafeMutableBytes(of: &serial, { RAND_bytes($0.baseAddress, 8) }) == 1 else { return false }
    return ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial >> 1) == 1
  }

  private static func setName(_ x509: OpaquePointer, _ commonName: String) -> Bool {
    X509_NAME_add_entry_by_txt(
      X509_get_subject_name(x509), "CN", MBSTRING_UTF8, commonName, -1, -1, 0) == 1
  }

  private static func add(
    _ nid: Int32, _ value: String, to x509: OpaquePointer, issuer: OpaquePointer
  ) throws(Fault) {
    var context = X509V3_CTX()
    X509V3_set_ctx(&context, issuer, x509, nil, nil, 0)
    guard let ext = X509V3_EXT_conf_nid(nil, &context, nid, value) else {
      throw failure("make the extension \(value)")
    }
    defer { X509_EXTENSION_free(ext) }
    guard X509_add_ext(x509, ext, -1) == 1 else { throw failure("add the extension \(value)") }
  }

  func pem() throws(Fault) -> CertificateIssuer.Identity {
    let certificate = try pemText { PEM_write_bio_X509($0, self.pointer) }
    let key = try pemText {
      PEM_write_bio_PrivateKey($0, self.key.pointer, nil, nil, 0, nil, nil)
    }
    return .init(certificate: certificate, key: key)
  }
}

/// What `write` puts into a BIO.
func pemText(_ write: (OpaquePointer) -> Int32) throws(Fault) -> [UInt8] {
  guard let bio = BIO_new(BIO_s_mem()) else { throw failure("write PEM") }
  defer { BIO_free(bio) }
  guard write(bio) == 1 else { throw failure("write PEM") }
  var out = [UInt8](repeating: 0, count: Int(BIO_ctrl_pending(bio)))
  let count = BIO_read(bio, &out, Int32(out.count))
  guard count == Int32(out.count) else { throw failure("write PEM") }
  return out
}

func failure(_ what: String) -> Fault {
  var text = [CChar](repeating: 0, count: 256)
  ERR_error_string_n(ERR_get_error(), &text, text.count)
  let reason = text.withUnsafeBufferPointer { buffer in
    buffer.baseAddress.map { String(cString: $0) } ?? ""
  }
  return Fault(.internalError, "OpenSSL could not \(what): \(reason)")
}
