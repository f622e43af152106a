import Foundation
import PluginPackage
import SkeinCore
import Testing

/// Packages of a small C plug-in, compiled once by `cc` from the public header.
enum Sample {
  static let source = """
    #include "skein_plugin.h"
    #ifndef NO_MARK
    SKEIN_PLUGIN_ABI_MARK;
    #endif
    #ifdef EXTRA
    __attribute__((visibility("default"))) int extra(void) { return 1; }
    #endif
    #ifndef NO_ENTRY
    SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) { (void)host; return 0; }
    #endif
    """

  static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  /// Compiles `source` with more flags.
  static func compile(_ flags: [String] = [], source: String = source) throws -> [UInt8] {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-pp-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("p.c")
    try Data(source.utf8).write(to: file)
    let output = folder.appendingPathComponent("p.so")
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
      [
        "cc", "-std=c11", "-O1", "-shared", "-fPIC", "-fvisibility=hidden",
        "-I", repository.appendingPathComponent("Sources/CSkeinPlugin/include").path, "-o", output.path,
      ] + (flags.contains("-Wl,-z,delete") ? [] : ["-Wl,-z,nodelete"])
      + flags.filter { $0 != "-Wl,-z,delete" } + [file.path]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return [UInt8](try Data(contentsOf: output))
  }

  /// The plain plug-in, compiled once.
  static let file: Result<[UInt8], any Error> = Result { try compile() }

  static func elf(_ bytes: [UInt8]) throws -> ELFFile {
    try bytes.withUnsafeBytes { try ELFFile(parsing: $0) }
  }

  static let keys: Result<Signature.KeyPair, any Error> = Result { try Signature.generate() }

  static func manifest(
    for files: [(platform: String, bytes: [UInt8])], change: (inout Manifest) -> Void = { _ in }
  ) throws -> Manifest {
    let artifacts = files.map { file in
      let parts = file.platform.split(separator: "/").map(String.init)
      return Manifest.Artifact(
        os: parts[0], architecture: parts[1],
        libcMinimum: (try? elf(file.bytes))?.glibcMinimum?.description, size: file.bytes.count,
        sha256: Digest.hexadecimal(file.bytes))
    }
    var manifest = Manifest(
      reference: try PluginReference(parsing: "com.acme.sticky@1.2.0"), kinds: [.partitioner],
      abiMajor: 1, abiMinor: 0, requires: ["skein.host.log/1"], configSchema: nil, artifacts: artifacts,
      runtime: "c", isPure: true, headers: [], needsTimestamps: false, needsNetwork: false, paths: [],
      memoryMegabytes: 64, publisher: "Acme", builtFrom: "")
    change(&manifest)
    return manifest
  }

  /// A package as its author would make it.
  static func package(
    file: [UInt8]? = nil, platform: String = ArtifactCheck.platform, signed: Bool = true,
    change: (inout Manifest) -> Void = { _ in }
  ) throws -> PackageFile {
    let bytes = try file ?? Self.file.get()
    let text = try manifest(for: [(platform, bytes)], change: change).encoded()
    return PackageFile(
      manifest: text, seal: signed ? try seal(text) : nil, artifacts: [SharedBytes(bytes)])
  }

  static func seal(_ manifest: [UInt8]) throws -> PackageFile.Seal {
    let pair = try keys.get()
    return PackageFile.Seal(
      keyID: try Signature.keyID(publicKeyPEM: pair.publicPEM),
      signature: try Signature.sign(manifest, privateKeyPEM: pair.privatePEM))
  }

  static func policy(allowDev: Bool = false) throws -> TrustPolicy {
    let pem = try keys.get().publicPEM
    return TrustPolicy(
      allowDev: allowDev, keys: [try Signature.keyID(publicKeyPEM: pem): .init(pem: pem, level: .trusted)])
  }

  /// The refusal, with its check.
  static func refusal(
    of package: PackageFile, allowDev: Bool = false
  ) throws -> (check: String, message: String, cure: String)? {
    do {
      let parsed = try PackageFile(parsing: SharedBytes(package.encoded()))
      _ = try ArtifactCheck.verify(package: parsed, policy: try policy(allowDev: allowDev))
      return nil
    } catch let fault as Fault {
      #expect(fault.reason == .pluginRefused)
      return (fault.metadata["check"] ?? "", fault.message, fault.metadata["cure"] ?? "")
    }
  }
}

/// A small generator, so that a failure can be repeated from its seed.
struct Seeded {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(max(1, limit))) }

  /// The bytes with one to four changes: a flip, an extreme value, a cut, a repetition.
  mutating func mutate(_ bytes: [UInt8]) -> [UInt8] {
    var out = bytes
    for _ in 0...below(4) {
      guard !out.isEmpty else { return out }
      let at = below(out.count)
      switch below(6) {
      case 0: out[at] ^= 1 << UInt8(below(8))
      case 1: out[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)]
      case 2: out.removeSubrange(at..<min(out.count, at + 1 + below(16)))
      case 3: out.insert(contentsOf: out[at..<min(out.count, at + 1 + below(16))], at: at)
      case 4: for i in at..<min(out.count, at + 8) { out[i] = 0xff }
      default: out = Array(out[..<at])
      }
    }
    return out
  }
}
