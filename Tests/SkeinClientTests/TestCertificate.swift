import Certificates
import Foundation

/// An authority and a client certificate, as `skeind --dev` lays them out.
enum TestCertificate {
  static func write(to folder: URL) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let issuer = try CertificateIssuer(commonName: "test CA")
    let admin = try issuer.issue(commonName: "admin", names: ["URI:skein:default/admin"], usage: .client)
    let authority = try issuer.identity
    for (name, content) in [
      ("ca.pem", authority.certificate), ("admin.pem", admin.certificate), ("admin.key", admin.key),
    ] {
      try Data(content).write(to: folder.appendingPathComponent(name))
    }
  }
}
