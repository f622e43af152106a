import Foundation
import SkeinClient
import SkeinCore
import Yams

/// Where a cluster is and how to reach it: a small YAML file, as `skeind --dev` writes it.
struct ContextFile: Sendable {
  static let keys = ["address", "ca", "certificate", "key", "tenant"]

  var address: String
  /// Absolute paths.
  var ca: String
  var certificate: String
  var key: String
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
    let missing = keys.dropLast().filter { values[$0]?.isEmpty ?? true }
    guard missing.isEmpty else {
      throw UsageError("\(path.displayable): missing \(missing.joined(separator: ", "))")
    }
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
    func resolve(_ key: String) -> String {
      URL(fileURLWithPath: values[key] ?? "", relativeTo: folder).standardizedFileURL.path
    }
    return ContextFile(
      address: values["address"] ?? "", ca: resolve("ca"), certificate: resolve("certificate"),
      key: resolve("key"), tenant: values["tenant"])
  }

  /// As YAML text.
  func encoded() throws -> String {
    var values = ["address": address, "ca": ca, "certificate": certificate, "key": key]
    values["tenant"] = tenant
    let encoder = YAMLEncoder()
    encoder.options.sortKeys = true
    return try encoder.encode(values)
  }

  /// The SDK's configuration: several addresses are separated by commas.
  var clientConfiguration: ClientConfiguration {
    ClientConfiguration(
      addresses: address.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) },
      tls: TLSIdentity(ca: .file(ca), certificate: .file(certificate), key: .file(key)))
  }
}
