import CSkeinPlugin
import Foundation
import Glibc
import PluginPackage
import SkeinCore

/// What the body of a check sees: the request, the plug-in's bytes, and the page in which it says what it does.
///
/// `@unchecked Sendable`: `doing` writes to the shared page and `nextInstance` counts on the child's main thread only;
/// the rest is written once, before the check begins.
final class CheckContext: @unchecked Sendable {
  let request: CheckRequest
  let manifest: Manifest
  let artifact: Int32
  private let page: UnsafeMutableRawPointer
  private var nextInstance: UInt64 = 1

  init(request: CheckRequest, manifest: Manifest, artifact: Int32, page: UnsafeMutableRawPointer) {
    self.request = request
    self.manifest = manifest
    self.artifact = artifact
    self.page = page
  }

  /// Says what comes next, for the case that the plug-in does not come back from it.
  func doing(_ what: String) {
    let bytes = Array(what.utf8.prefix(ChildProcess.pageSize - 1)) + [0]
    bytes.withUnsafeBytes { page.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
  }

  /// The bytes of the plug-in.
  func bytes() throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: "/proc/self/fd/\(artifact)")))
  }

  func load(_ shape: TestHost.Shape = TestHost.Shape()) throws -> PluginUnderTest {
    try PluginUnderTest(descriptor: artifact, host: TestHost(shape), doing: doing)
  }

  func tryCreate(_ plugin: PluginUnderTest, _ kind: PluginKind, config: String? = nil) throws
    -> PluginInstance.Creation
  {
    defer { nextInstance += 1 }
    return try PluginInstance.create(
      plugin, kind, config: config ?? request.config, number: nextInstance, doing: doing)
  }

  func create(_ plugin: PluginUnderTest, _ kind: PluginKind, config: String? = nil) throws -> PluginInstance {
    switch try tryCreate(plugin, kind, config: config) {
    case .made(let instance): return instance
    case .refused(let status, let why):
      throw Broken(
        "create gave status \(status) for the configuration \((config ?? request.config).prefix(200)): "
          + "\"\(String(decoding: why, as: UTF8.self).displayable)\"",
        cure:
          "give a configuration that fits it with --config, or let create accept what the config_schema allows"
      )
    }
  }

  /// The kinds that the manifest names, in their order.
  var kinds: [PluginKind] { manifest.kinds }

  func random(_ salt: UInt64 = 0) -> SeededRandom { SeededRandom(seed: request.seed &+ salt &* 0x9e37_79b9) }
}

/// splitmix64: the same numbers from the same seed, on every machine.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
  }
}
