import Broker
import Certificates
import DiskIO
import SkeinCore

/// The folder of `skeind --dev DIR`: own authority, server and administrator certificates, data, and
/// a context for the command line. Everything is made once and kept.
struct DevelopmentFolder {
  let folder: PrivateDirectory
  private let tls: PrivateDirectory

  init(_ path: String) throws(Fault) {
    folder = try PrivateDirectory(preparing: path)
    tls = try folder.folder("tls")
    _ = try folder.folder("data")
    // The authority's key signs both certificates at once and is written last, so that a folder with
    // `ca.key` is complete.
    guard !tls.contains("ca.key") else { return }
    let issuer = try CertificateIssuer(commonName: "Skein development CA")
    let server = try issuer.issue(
      commonName: "localhost", names: ["DNS:localhost", "IP:127.0.0.1", "IP:::1"], usage: .server)
    let admin = try issuer.issue(
      commonName: "admin", names: ["URI:skein:default/admin"], usage: .client)
    try tls.write(server.certificate, to: "server.pem")
    try tls.write(server.key, to: "server.key")
    try tls.write(admin.certificate, to: "admin.pem")
    try tls.write(admin.key, to: "admin.key")
    let authority = try issuer.identity
    try tls.write(authority.certificate, to: "ca.pem")
    try tls.write(authority.key, to: "ca.key")
  }

  /// What --dev gives instead of defaults.
  var settings: [String: String] {
    [
      "data.directory": folder.path + "/data",
      "tls.certificate": tls.path + "/server.pem",
      "tls.key": tls.path + "/server.key",
      "tls.client-authorities": tls.path + "/ca.pem",
      // Small, so that the first start does not spend seconds on writing the ring.
      "journal.bytes": String(128 << 20),
      "disk.reserve-bytes": String(256 << 20),
    ]
  }

  /// The context file of `skein --context`.
  func writeContext(address: String) throws(Fault) {
    let text = """
      # Written by skeind --dev at every start. Use: skein --context \(folder.path)/context.yaml …
      address: "\(address)"
      ca: tls/ca.pem
      certificate: tls/admin.pem
      key: tls/admin.key
      tenant: default

      """
    try folder.write(Array(text.utf8), to: "context.yaml")
  }
}
