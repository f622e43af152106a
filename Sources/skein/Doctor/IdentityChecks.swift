import Certificates
import Foundation
import SkeinCore

/// The files that a context names: there, readable, in date, and belonging together.
struct IdentityChecks {
  /// Below this a certificate's end is worth a warning, in seconds.
  static let warning: Int64 = 14 * 86_400
  private static let mostBytes = 1 << 20

  let context: ContextFile

  func run(_ findings: inout Findings) {
    _ = certificates("ca", context.ca, key: nil, &findings)
    if let token = context.tokenFile, read("token", token, &findings) != nil {
      checkPermissions("token", token, &findings)
    }
    // Who has a token may do without.
    if context.certificate.isEmpty { return }
    let key = read("key", context.key, &findings)
    if key != nil { checkPermissions("key", context.key, &findings) }
    guard let certificate = certificates("certificate", context.certificate, key: key, &findings) else {
      return
    }
    if certificate.matchesKey == false {
      findings.add(
        .fail, "key", "\(context.key) is not the key of \(context.certificate)",
        cure: "name the key that was made with the certificate")
    }
    checkPrincipal(certificate, &findings)
  }

  private func checkPrincipal(_ certificate: CertificateSummary, _ findings: inout Findings) {
    if let name = certificate.names.first(where: { $0.hasPrefix("URI:skein:") }) {
      findings.add(.ok, "principal", String(name.dropFirst(4)))
    } else {
      findings.add(
        .fail, "principal", "the certificate has no SAN URI skein:<tenant>/<principal>",
        cure: "have one issued with it; it is who you are to the broker", code: Failure.access)
    }
  }

  /// The first certificate of a file, if all of it can be used.
  private func certificates(
    _ check: String, _ path: String, key: [UInt8]?, _ findings: inout Findings
  ) -> CertificateSummary? {
    guard let pem = read(check, path, &findings) else { return nil }
    let all: [CertificateSummary]
    do {
      all = try CertificateSummary.read(pem: pem, key: key)
    } catch {
      findings.add(.fail, check, "\(path): \(error.message)", cure: "name a PEM file in the context")
      return nil
    }
    for certificate in all { checkDates(check, certificate, &findings) }
    return all.first
  }

  private func checkDates(_ check: String, _ certificate: CertificateSummary, _ findings: inout Findings) {
    let name = "\"\(certificate.commonName)\""
    let left = Units.duration(seconds: certificate.secondsUntilEnd)
    if certificate.secondsUntilStart > 0 {
      findings.add(
        .fail, check, "\(name) is valid only in \(Units.duration(seconds: certificate.secondsUntilStart))",
        cure: "check this machine's clock")
    } else if certificate.secondsUntilEnd <= 0 {
      findings.add(
        .fail, check, "\(name) expired \(left.dropFirst()) ago",
        cure: "renew it, and check this machine's clock")
    } else if certificate.secondsUntilEnd < Self.warning {
      findings.add(.warn, check, "\(name) expires in \(left)", cure: "renew it")
    } else {
      findings.add(.ok, check, "\(name), valid for \(left)")
    }
  }

  private func checkPermissions(_ check: String, _ path: String, _ findings: inout Findings) {
    let attributes = try? FileManager.default.attributesOfItem(atPath: path)
    let mode = (attributes?[.posixPermissions] as? NSNumber)?.intValue ?? 0o600
    if mode & 0o077 != 0 {
      findings.add(
        .warn, check, "others may read \(path) (mode \(String(mode, radix: 8)))",
        cure: "chmod 600 \(path)")
    } else {
      findings.add(.ok, check, path)
    }
  }

  private func read(_ check: String, _ path: String, _ findings: inout Findings) -> [UInt8]? {
    do {
      let data = try Data(contentsOf: URL(fileURLWithPath: path))
      guard data.count <= Self.mostBytes else {
        findings.add(.fail, check, "\(path) has more than \(Self.mostBytes) bytes", cure: "name a PEM file")
        return nil
      }
      return Array(data)
    } catch {
      findings.add(
        .fail, check, "cannot read \(path): \((error as NSError).localizedDescription)",
        cure: "correct the path in the context, or its permissions")
      return nil
    }
  }
}
