import CommitLog
import Foundation
import MetadataStore
import PluginPackage
import PluginRegistry
import Simulation
import SkeinCore
import Testing

/// Signed packages of a small C plug-in, and registries over any disk.
enum Sample {
  static let keys: Result<Signature.KeyPair, any Error> = Result { try Signature.generate() }
  static let file: Result<[UInt8], any Error> = Result { try compile() }

  private static func compile() throws -> [UInt8] {
    let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data(
      """
      #include "skein_plugin.h"
      SKEIN_PLUGIN_ABI_MARK;
      SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) { (void)host; return 0; }
      """.utf8
    ).write(to: folder.appendingPathComponent("p.c"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "cc", "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,nodelete", "-I",
      repository.appendingPathComponent("Sources/CSkeinPlugin/include").path, "-o",
      folder.appendingPathComponent("p.so").path, folder.appendingPathComponent("p.c").path,
    ]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return [UInt8](try Data(contentsOf: folder.appendingPathComponent("p.so")))
  }

  static func temporaryFolder() throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-pr-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder
  }

  /// - Parameter salt: bytes behind the file's end, which the loader does not look at: another file, so another hash.
  static func package(
    _ version: String, id: String = "com.acme.sticky", salt: String = "", signed: Bool = true,
    publisher: String = "Acme", kind: PluginKind = .partitioner
  ) throws -> SharedBytes {
    let bytes = try file.get() + Array((version + id + salt).utf8)
    let manifest = Manifest(
      reference: try PluginReference(id: id, version: version), kinds: [kind],
      artifacts: [
        .init(
          os: "linux", architecture: ArtifactCheck.platform == "linux/arm64" ? "arm64" : "amd64",
          libcMinimum: try bytes.withUnsafeBytes { try ELFFile(parsing: $0) }.glibcMinimum?.description,
          size: bytes.count, sha256: Digest.hexadecimal(bytes))
      ], runtime: "c", publisher: publisher
    ).encoded()
    var seal: PackageFile.Seal?
    if signed {
      let pair = try keys.get()
      seal = .init(
        keyID: try Signature.keyID(publicKeyPEM: pair.publicPEM),
        signature: try Signature.sign(manifest, privateKeyPEM: pair.privatePEM))
    }
    return SharedBytes(PackageFile(manifest: manifest, seal: seal, artifacts: [SharedBytes(bytes)]).encoded())
  }
}

/// One registry over a SQLite store, and what it stands on.
struct Fixture {
  static let prefix = Array("/skein/test/sys/plugins/".utf8)
  let store: SQLiteStore
  let registry: PluginRegistry

  /// - Parameter disk: of the files, and of the metadata unless that has one of its own.
  static func open(
    _ disk: any Disk, metadata: (any Disk)? = nil, allowDev: Bool = false, releaseKey: String = ""
  ) async throws -> Fixture {
    let time = SimulatedTime()
    let store = try await SQLiteStore.open(
      disk: metadata ?? disk, path: "metadata.db", time: time, random: SeededRandom(seed: 1))
    var settings = PluginRegistry.Settings()
    settings.allowDev = allowDev
    settings.releaseKey = releaseKey
    do {
      return Fixture(
        store: store,
        registry: try await PluginRegistry.open(
          store: store, keyPrefix: prefix, disk: disk, settings: settings, time: time,
          blocking: BlockingWork { $0() }))
    } catch {
      await store.close()
      throw error
    }
  }

  /// A registry that trusts the samples' key.
  static func trusting(_ disk: any Disk, metadata: (any Disk)? = nil) async throws -> Fixture {
    let fixture = try await open(disk, metadata: metadata)
    _ = try await fixture.registry.addKey(name: "acme", pem: try Sample.keys.get().publicPEM, by: "admin")
    return fixture
  }

  @discardableResult
  func install(_ package: SharedBytes, verifyOnly: Bool = false) async throws -> PluginRegistry.Installed {
    try await registry.install(package: package, by: "admin", verifyOnly: verifyOnly) {
      (_) throws(Fault) in "probed"
    }
  }

  var names: [String] {
    get async throws { try await registry.list().map(\.reference.description) }
  }
}

func reason(_ body: () async throws -> Void) async -> String? {
  do {
    try await body()
    return nil
  } catch let fault as Fault {
    return fault.reason.name + (fault.metadata["check"].map { ":\($0)" } ?? "")
  } catch {
    return "\(error)"
  }
}
