import Certificates
import Foundation
import SkeinClient

/// Replaces every certificate of a running `skeind --dev` under load, authority included, the way an operator
/// does: first everybody trusts the new authority, then everybody shows what it signed.
struct Rotation {
  let folder: String
  private var authority: [UInt8]
  private var number = 0

  init(folder: String) throws {
    self.folder = folder + "/tls"
    authority = Array(try Data(contentsOf: URL(fileURLWithPath: self.folder + "/ca.pem")))
  }

  /// - Parameter reload: brings the broker to load its files; returns when it has.
  mutating func run(reload: () async throws -> Void) async throws {
    number += 1
    let issuer = try CertificateIssuer(commonName: "authority \(number)")
    let new = try issuer.identity.certificate
    try write(authority + new, "ca.pem")
    try await reload()
    let server = try issuer.issue(
      commonName: "localhost", names: ["DNS:localhost", "IP:127.0.0.1"], usage: .server)
    let client = try issuer.issue(commonName: "admin", names: ["URI:skein:default/admin"], usage: .client)
    // A key and its certificate are two files: whoever reads between the two waits and reads again.
    try write(server.key, "server.key")
    try write(server.certificate, "server.pem")
    try write(client.key, "admin.key")
    try write(client.certificate, "admin.pem")
    try await reload()
    authority = new
  }

  private func write(_ bytes: [UInt8], _ name: String) throws {
    let draft = "\(folder)/.\(name).new"
    _ = FileManager.default.createFile(
      atPath: draft, contents: Data(bytes), attributes: [.posixPermissions: 0o600])
    guard rename(draft, "\(folder)/\(name)") == 0 else {
      throw TrialFailure("cannot replace \(folder)/\(name)")
    }
  }
}
