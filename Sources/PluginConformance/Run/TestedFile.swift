import Foundation
package import PluginPackage
import SkeinCore

/// The file under test: a `.so` with its manifest beside it, or a `.skeinplug`.
package struct TestedFile: Sendable {
  package let path: String
  package let bytes: [UInt8]
  package let manifest: Manifest
  /// As the children get it: with this file as the artifact for this platform.
  package let manifestBytes: [UInt8]
  package let sha256: String

  package struct Unusable: Error, CustomStringConvertible, Sendable {
    package let description: String
  }

  /// - Throws: `Unusable`, with a cause and a cure.
  package init(path: String) throws {
    self.path = path
    guard let data = try? Data(contentsOf: URL(fileURLWithPath: path)) else {
      throw Unusable(description: "\(path) cannot be read. Give the path of a .so or a .skeinplug")
    }
    guard data.count <= PackageFile.mostBytes else {
      throw Unusable(description: "\(path) has \(data.count) bytes, more than \(PackageFile.mostBytes)")
    }
    do {
      if data.starts(with: PackageFile.magic) {
        let package = try PackageFile(parsing: SharedBytes(Array(data)))
        manifest = try Manifest(parsing: package.manifest)
        manifestBytes = package.manifest
        let here = manifest.artifacts.firstIndex { $0.platform == ArtifactCheck.platform }
        guard let here, package.artifacts.indices.contains(here) else {
          throw Unusable(
            description: "\(path) holds no file for \(ArtifactCheck.platform). Test it where it runs")
        }
        bytes = package.artifacts[here].array
        guard Digest.hexadecimal(bytes) == manifest.artifacts[here].sha256 else {
          throw Unusable(
            description: "\(path): the file is not the one that its manifest names. Pack it again")
        }
      } else {
        bytes = Array(data)
        manifestBytes = try Self.manifest(beside: path, bytes)
        manifest = try Manifest(parsing: manifestBytes)
      }
    } catch let fault as Fault {
      throw Unusable(description: fault.message)
    }
    sha256 = Digest.hexadecimal(bytes)
  }

  /// `NAME.manifest.json`, `NAME.json` or `manifest.json`, in the folder of the file.
  private static func manifest(beside path: String, _ bytes: [UInt8]) throws -> [UInt8] {
    let file = URL(fileURLWithPath: path)
    let stem = file.deletingPathExtension().lastPathComponent
    let folder = file.deletingLastPathComponent()
    let names = ["\(stem).manifest.json", "\(stem).json", "manifest.json"]
    for name in names {
      guard let data = try? Data(contentsOf: folder.appendingPathComponent(name)) else { continue }
      return try withArtifact(Array(data), bytes)
    }
    throw Unusable(
      description: "no manifest beside \(path). Put it there as \(names.joined(separator: " or "))")
  }

  /// The manifest before it is packed says nothing of the file's hash, or that of an earlier build.
  private static func withArtifact(_ manifest: [UInt8], _ bytes: [UInt8]) throws -> [UInt8] {
    guard var object = (try? JSONSerialization.jsonObject(with: Data(manifest))) as? [String: Any] else {
      throw Unusable(description: "the manifest is no JSON object")
    }
    let words = ArtifactCheck.platform.split(separator: "/").map(String.init)
    let old = (object["artifacts"] as? [[String: Any]])?.first {
      $0["os"] as? String == words[0] && $0["arch"] as? String == words[1]
    }
    var artifact: [String: Any] = [
      "os": words[0], "arch": words[1], "size": bytes.count, "sha256": Digest.hexadecimal(bytes),
    ]
    if let least = old?["libc_min"] { artifact["libc_min"] = least }
    object["artifacts"] = [artifact]
    // What `skein plugin pack` takes from the file.
    if object["schema"] == nil { object["schema"] = 1 }
    if object["abi"] == nil { object["abi"] = ["major": Int(ArtifactCheck.abiMajor), "minor": 0] }
    return Array(try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys]))
  }
}
