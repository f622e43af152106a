import Foundation
import PluginPackage
import SkeinCore
import Testing

/// A package that was written once: whatever changes here, files of authors must be read for ever.
@Suite struct GoldenTests {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Golden")

  @Test func aPackageOfVersion1IsReadAsItWas() throws {
    let bytes = [UInt8](try Data(contentsOf: Self.folder.appendingPathComponent("package-1.skeinplug")))
    let pem = try String(contentsOf: Self.folder.appendingPathComponent("key.pem"), encoding: .utf8)
    let package = try PackageFile(parsing: SharedBytes(bytes))
    #expect(package.encoded() == bytes)
    let keyID = try Signature.keyID(publicKeyPEM: pem)
    #expect(keyID == "a050837d85070582" && package.seal?.keyID == keyID)
    let policy = TrustPolicy(allowDev: false, keys: [keyID: .init(pem: pem, level: .trusted)])
    #expect(try policy.judge(package).level == .trusted)
    let manifest = try Manifest(parsing: package.manifest)
    #expect(manifest.reference.description == "com.acme.golden@1.2.0-rc.1")
    #expect(manifest.kinds == [.partitioner] && manifest.abiMajor == 1 && manifest.abiMinor == 0)
    #expect(manifest.requires == ["skein.host.log/1"] && manifest.headers == ["tenant"] && manifest.isPure)
    #expect(manifest.artifacts.map(\.platform) == ["linux/amd64", "linux/arm64"])
    #expect(manifest.artifacts.map(\.sha256) == package.artifacts.map { Digest.hexadecimal($0) })
    try ConfigSchema(parsing: manifest.configSchema ?? "").check(Array(#"{"salt": "x"}"#.utf8))
  }

  /// The example of Docs/formats/plugin-package.md is a manifest.
  @Test func theExampleOfTheDocumentIsRead() throws {
    let page = try String(
      contentsOf: Sample.repository.appendingPathComponent("Docs/formats/plugin-package.md"), encoding: .utf8)
    let example = try #require(
      page.components(separatedBy: "```json\n").last?.components(separatedBy: "```").first)
    #expect(try Manifest(parsing: Array(example.utf8)).reference.id == "com.acme.sticky")
  }
}
