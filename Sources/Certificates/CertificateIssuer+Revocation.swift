import COpenSSL
package import SkeinCore

extension CertificateIssuer {
  /// A revocation list (CRL, PEM) of this authority.
  ///
  /// - Parameters:
  ///   - certificates: PEM of certificates that it has issued.
  ///   - days: until the next list is due; negative gives one that is out of date (for tests).
  package func revocationList(revoking certificates: [[UInt8]], days: Int = 30) throws(Fault) -> [UInt8] {
    guard let list = X509_CRL_new() else { throw failure("make a revocation list") }
    defer { X509_CRL_free(list) }
    let day = 86_400
    guard let begin = X509_gmtime_adj(nil, days < 0 ? 10 * days * day : -day),
      let end = X509_gmtime_adj(nil, days * day)
    else { throw failure("make a time") }
    defer {
      ASN1_STRING_free(begin)
      ASN1_STRING_free(end)
    }
    guard X509_CRL_set_version(list, 1) == 1,
      X509_CRL_set_issuer_name(list, X509_get_subject_name(certificate)) == 1,
      X509_CRL_set1_lastUpdate(list, begin) == 1, X509_CRL_set1_nextUpdate(list, end) == 1
    else { throw failure("fill a revocation list") }
    for pem in certificates { try Self.revoke(pem, in: list, at: begin) }
    guard X509_CRL_sort(list) == 1, X509_CRL_sign(list, signingKey, EVP_sha256()) > 0 else {
      throw failure("sign a revocation list")
    }
    return try pemText { PEM_write_bio_X509_CRL($0, list) }
  }

  private static func revoke(
    _ pem: [UInt8], in list: OpaquePointer, at time: UnsafeMutablePointer<ASN1_TIME>
  ) throws(Fault) {
    guard let count = Int32(exactly: pem.count), let bio = BIO_new_mem_buf(pem, count) else {
      throw failure("read a certificate")
    }
    defer { BIO_free(bio) }
    guard let certificate = PEM_read_bio_X509(bio, nil, nil, nil) else { throw failure("read a certificate") }
    defer { X509_free(certificate) }
    guard let entry = X509_REVOKED_new() else { throw failure("revoke a certificate") }
    // The list takes the entry over when it is added.
    guard X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate)) == 1,
      X509_REVOKED_set_revocationDate(entry, time) == 1, X509_CRL_add0_revoked(list, entry) == 1
    else {
      X509_REVOKED_free(entry)
      throw failure("revoke a certificate")
    }
  }
}
