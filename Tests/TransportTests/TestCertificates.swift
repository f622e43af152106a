import Foundation
import Transport

/// A throw-away authority and what it signs, made with the `openssl` command at the start of a test
/// run in a temporary folder. P-256 throughout.
struct TestCertificates: Sendable {
  let folder: String

  /// One set for all tests of the process.
  static let shared = TestCertificates()

  private init() {
    folder = NSTemporaryDirectory() + "skein-transport-\(ProcessInfo.processInfo.processIdentifier)"
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    authority("ca")
    authority("other-ca")
    sign("server", by: "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1", usage: "serverAuth")
    sign("client", by: "ca", "subjectAltName=URI:skein:default/admin,URI:urn:second", usage: "clientAuth")
    sign("second", by: "ca", "subjectAltName=URI:skein:default/second", usage: "clientAuth")
    sign("stranger", by: "other-ca", "subjectAltName=URI:skein:default/mallory", usage: "clientAuth")
    sign("expired", by: "ca", "subjectAltName=URI:skein:default/late", usage: "clientAuth", expired: true)
    sign("elsewhere", by: "ca", "subjectAltName=DNS:elsewhere.example", usage: "serverAuth")
    sign(
      "old-server", by: "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1", usage: "serverAuth", expired: true)
  }

  func pem(_ name: String) -> PEMSource { .file("\(folder)/\(name).pem") }
  func key(_ name: String) -> PEMSource { .file("\(folder)/\(name).key") }

  func server(_ name: String = "server", trusting authority: String = "ca") -> ServerTLS {
    ServerTLS(certificateChain: pem(name), privateKey: key(name), clientAuthorities: pem(authority))
  }

  func client(_ name: String? = "client", trusting authority: String = "ca") -> ClientTLS {
    ClientTLS(
      trustRoots: pem(authority), certificateChain: name.map { pem($0) }, privateKey: name.map { key($0) })
  }

  private func authority(_ name: String) {
    run(
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
      "\(folder)/\(name).key", "-out", "\(folder)/\(name).pem", "-days", "2", "-subj", "/CN=\(name)")
  }

  private func sign(
    _ name: String, by authority: String, _ names: String, usage: String, expired: Bool = false
  ) {
    run(
      "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
      "\(folder)/\(name).key", "-out", "\(folder)/\(name).csr", "-subj", "/CN=\(name)")
    try? "\(names)\nextendedKeyUsage=\(usage)\n".write(
      toFile: "\(folder)/\(name).ext", atomically: true, encoding: .utf8)
    // `x509` has no -not_after in OpenSSL 3.0: a lifetime of minus one day has ended already.
    run(
      "x509", "-req", "-in", "\(folder)/\(name).csr", "-CA", "\(folder)/\(authority).pem", "-CAkey",
      "\(folder)/\(authority).key", "-CAcreateserial", "-days", expired ? "-1" : "2", "-extfile",
      "\(folder)/\(name).ext", "-out", "\(folder)/\(name).pem")
  }

  private func run(_ arguments: String...) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
    process.arguments = arguments
    process.standardError = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    do {
      try process.run()
      process.waitUntilExit()
    } catch {
      fatalError("the tests need the openssl command: \(error)")
    }
    precondition(process.terminationStatus == 0, "openssl \(arguments) failed")
  }
}
