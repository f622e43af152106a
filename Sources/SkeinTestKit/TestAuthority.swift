import Certificates
import SkeinClient
import SkeinCore
import Synchronization
import Transport

/// The authority of one `TestBroker`: signs its server certificate and any number of clients'. Any thread.
final class TestAuthority: Sendable {
  let serverTLS: ServerTLS
  private let certificate: [UInt8]
  private let issuer: Mutex<CertificateIssuer>

  init() throws(Fault) {
    let issuer = try CertificateIssuer(commonName: "Skein test authority")
    certificate = try issuer.identity.certificate
    let server = try issuer.issue(
      commonName: "localhost", names: ["DNS:localhost", "IP:127.0.0.1", "IP:::1"], usage: .server)
    serverTLS = ServerTLS(
      certificateChain: .bytes(server.certificate), privateKey: .bytes(server.key),
      clientAuthorities: .bytes(certificate))
    self.issuer = Mutex(issuer)
  }

  func client(tenant: String, principal: String) throws(Fault) -> TLSIdentity {
    // OpenSSL reads the name in a notation in which commas and the like have a meaning.
    let allowed = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    for name in [tenant, principal] where name.isEmpty || !name.allSatisfy(allowed.contains) {
      throw Fault(
        .invalidRequest, "\"\(name)\" is not a name for a certificate: letters, digits, '-', '_' and '.' only"
      )
    }
    let identity = try issuer.withLock { (issuer) throws(Fault) in
      try issuer.issue(
        commonName: principal, names: ["URI:skein:\(tenant)/\(principal)"], usage: .client)
    }
    return TLSIdentity(
      ca: .bytes(certificate), certificate: .bytes(identity.certificate), key: .bytes(identity.key))
  }
}
