import Foundation
import NIOCore
import PluginHost
import PluginPackage
import SkeinCore
import Synchronization
import Testing

@testable import Broker

/// Runs nothing: says of each plug-in what a test wants to hear.
final class FakePluginRunner: PluginRunner {
  private struct State {
    var probeFault: Fault?
    var quarantine: String?
    var released: [String] = []
    var probes = 0
    var isHeld = false
    var waiting: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Mutex(State())
  private let partitioners = FakePartitioners([:])

  func failProbes(_ fault: Fault?) { state.withLock { $0.probeFault = fault } }
  func quarantine(_ why: String?) { state.withLock { $0.quarantine = why } }
  var released: [String] { state.withLock { $0.released } }
  var probes: Int { state.withLock { $0.probes } }
  /// Probes wait until `go`.
  func hold() { state.withLock { $0.isHeld = true } }
  func go() {
    for waiting in state.withLock({ state in
      state.isHeld = false
      defer { state.waiting = [] }
      return state.waiting
    }) { waiting.resume() }
  }

  func probe(_ artifact: VerifiedArtifact) async throws(Fault) -> String {
    await withCheckedContinuation { continuation in
      let waits = state.withLock { state in
        state.probes += 1
        if state.isHeld { state.waiting.append(continuation) }
        return state.isHeld
      }
      if !waits { continuation.resume() }
    }
    if let fault = state.withLock({ $0.probeFault }) { throw fault }
    return "1000 calls"
  }

  func partitioner(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any PartitionerInstance {
    try await partitioners.load(artifact.manifest.reference.description, config: config, usedBy: usedBy)
      .instance
  }

  func authenticator(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance {
    throw Fault(.authenticatorUnavailable, "the fake has none")
  }

  func condition(of reference: PluginReference, sha256: String) -> PluginCondition? {
    guard let why = state.withLock({ $0.quarantine }) else { return nil }
    var condition = PluginCondition()
    condition.quarantine = why
    condition.strikes = 3
    condition.recentFaults = [.init(atMilliseconds: 1, kind: "crash", detail: "signal 11", usedBy: "topic t")]
    return condition
  }

  func release(_ sha256: String) throws(Fault) {
    state.withLock { state in
      state.released.append(sha256)
      state.quarantine = nil
    }
  }

  func close() async {}
}

/// Packages of a C plug-in that does nothing, compiled once.
enum SamplePackage {
  static let file: Result<[UInt8], any Error> = Result { try compile() }
  static let keys: Result<Signature.KeyPair, any Error> = Result { try Signature.generate() }

  private static func compile() throws -> [UInt8] {
    let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-bp-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let (source, output) = (folder.appendingPathComponent("p.c"), folder.appendingPathComponent("p.so"))
    try Data(
      """
      #include "skein_plugin.h"
      SKEIN_PLUGIN_ABI_MARK;
      SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) { (void)host; return 0; }
      """.utf8
    ).write(to: source)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "cc", "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,nodelete", "-I",
      repository.appendingPathComponent("Sources/CSkeinPlugin/include").path, "-o", output.path, source.path,
    ]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return [UInt8](try Data(contentsOf: output))
  }

  /// - Parameter padding: bytes behind the file's end, which nobody looks at.
  static func make(
    _ version: String = "1.0.0", id: String = "com.acme.sticky", kind: PluginKind = .partitioner,
    schema: String = "", padding: Int = 0
  ) throws -> [UInt8] {
    let template = """
      {"id": "\(id)", "version": "\(version)", "kinds": ["\(kind.rawValue)"], "runtime": "c",
       \(schema.isEmpty ? "" : "\"config_schema\": \(schema),") "publisher": "Acme"}
      """
    let file = try file.get() + Array((id + version).utf8) + [UInt8](repeating: 0, count: padding)
    return try PackageBuilder.build(
      template: Array(template.utf8), files: [.init(name: "p.so", bytes: file)],
      privateKeyPEM: try keys.get().privatePEM
    ).package.encoded()
  }
}
