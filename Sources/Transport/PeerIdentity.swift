/// Who is at the other end, from the certificate that TLS verified.
///
/// A plain value; any thread.
package struct PeerIdentity: Sendable, Hashable {
  /// SANs of type URI in the order of the certificate, e.g. `skein:default/admin`.
  package var subjectAlternativeURIs: [String]
  /// The last common name of the subject.
  package var commonName: String?
  /// `address:port`.
  package var remoteAddress: String
  /// The certificate's notAfter in seconds since 1970 UTC.
  package var certificateNotAfter: Int64?
  /// Whom the listener's authenticator found behind the call's token. Set on listeners with tokens only, where
  /// nothing else names the caller: the two fields of the certificate above are empty there.
  package var bearer: CallIdentity?

  package init(
    subjectAlternativeURIs: [String] = [], commonName: String? = nil, remoteAddress: String = "",
    certificateNotAfter: Int64? = nil
  ) {
    self.subjectAlternativeURIs = subjectAlternativeURIs
    self.commonName = commonName
    self.remoteAddress = remoteAddress
    self.certificateNotAfter = certificateNotAfter
  }
}
