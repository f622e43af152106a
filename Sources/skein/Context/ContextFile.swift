import Foundation
import SkeinClient
import SkeinCore
import Yams

/// Where a cluster is and how to reach it: a small YAML file, as `skeind --dev` writes it.
struct ContextFile: Sendable {
  static let keys = ["address", "ca", "certificate", "key", "token-file", "tenant"]

  var address: String
  /// Absolute paths.
  var ca: String
  var certificate: String
  var key: String
  /// With it, certificate and key may be missing (empty).
  var tokenFile: String?
  /// For display; the tenant in force is the certificate's.
  var tenant: String?

  /// Reads and checks a file; relative paths in it are relative to its folder.
  static func load(_ path: String) throws -> ContextFile {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw UsageError(
        "cannot read the context file \(path.displayable); `skeind --dev DIR` writes DIR/context.yaml")
    }
    let text = String(decoding: data.prefix(64 * 1024), as: UTF8.self)
    let values: [String: String]
    do {
      values = try YAMLDecoder().decode([String: String].self, from: text)
    } catch {
      throw UsageError("\(path.displayable): not a context file: \("\(error)".displayable)")
    }
    let unknown = values.keys.filter { !keys.contains($0) }.sorted()
    guard unknown.isEmpty else {
      throw UsageError(
        "\(path.displayable): unknown keys \(unknown.joined(separator: ", ").displayable); allowed are \(keys.joined(separator: ", "))"
      )
    }
    let hasToken = values["token-file"]?.isEmpty == false
    let hasCertificate = values["certificate"]?.isEmpty == false || values["key"]?.isEmpty == false
    let needed = ["address", "ca"] + (hasToken && !hasCertificate ? [] : ["certificate", "key"])
    let missing = needed.filter { values[$0]?.isEmpty ?? true }
    guard missing.isEmpty else {
      throw UsageError("\(path.displayable): missing \(missing.joined(separator: ", "))")
    }
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
    func resolve(_ key: String) -> String {
      guard let path = values[key], !path.isEmpty else { return "" }
      return URL(fileURLWithPath: path, relativeTo: folder).standardizedFileURL.path
    }
    return ContextFile(
      address: values["address"] ?? "", ca: resolve("ca"), certificate: resolve("certificate"),
      key: resolve("key"), tokenFile: hasToken ? resolve("token-file") : nil, tenant: values["tenant"])
  }

  /// As YAML text.
  func encoded() throws -> String {
    var values = ["address": address, "ca": ca]
    if !certificate.isEmpty { (values["certificate"], values["key"]) = (certificate, key) }
    values["token-file"] = tokenFile
    values["tenant"] = tenant
    let encoder = YAMLEncoder()
    encoder.options.sortKeys = true
    return try encoder.encode(values)
  }

  /// The SDK's configuration: several addresses are separated by commas.
  var clientConfiguration: ClientConfiguration {
    var tls = TLSIdentity(ca: .file(ca))
    if !certificate.isEmpty { (tls.certificate, tls.key) = (.file(certificate), .file(key)) }
    var configuration = ClientConfiguration(
      addresses: address.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }, tls: tls)
    configuration.token = tokenFile.map { .file($0) }
    return configuration
  }
}
