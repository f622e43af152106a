import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix
import PluginPackage
import SkeinCore
import Synchronization
import Testing

@testable import PluginHost

/// Variants of Plugins/variants.c, compiled by `cc` from the public header, each once.
enum TestPlugin {
  enum Variant: Int {
    case good, crashAtLoad, crashInCall, hang, wrongRange, unused, fork, memory, wrongABI, shortTables,
      nullEntry
    case otherID, shortPartitioner, hangAtLoad, network, forgets, crashInCreate, exit, prints, writesFile
    case killsParent, threads, forgedFrames, readsFile, threadState
  }

  private static let compiled = Mutex<[Variant: [UInt8]]>([:])

  static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  /// Two tests may compile the same one at the same time: nobody waits for the other.
  static func bytes(_ variant: Variant) async throws -> [UInt8] {
    if let there = compiled.withLock({ $0[variant] }) { return there }
    let made = try await compile(variant)
    compiled.withLock { $0[variant] = made }
    return made
  }

  private static func compile(_ variant: Variant) async throws -> [UInt8] {
    let output = FileManager.default.temporaryDirectory.appendingPathComponent("skein-ph-\(UUID()).so")
    defer { try? FileManager.default.removeItem(at: output) }
    let compiler = try TestProcess(
      "/usr/bin/cc",
      [
        "-std=gnu11", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wl,-z,nodelete",
        "-DVARIANT=\(variant.rawValue)", "-I",
        repository.appendingPathComponent("Sources/CSkeinPlugin/include").path, "-o", output.path,
        repository.appendingPathComponent("Tests/PluginHostTests/Plugins/variants.c").path,
      ])
    let code = try await compiler.end()
    try #require(code == 0)
    return [UInt8](try Data(contentsOf: output))
  }

  static func artifact(
    _ variant: Variant, kinds: [PluginKind] = [.partitioner], grants: Set<PluginGrant> = [], memory: Int = 64,
    paths: [String] = [], hash: String? = nil
  ) async throws -> VerifiedArtifact {
    let bytes = try await bytes(variant)
    var manifest = Manifest(
      reference: try PluginReference(parsing: "com.acme.test@1.0.0"), kinds: kinds, abiMajor: 1, abiMinor: 0,
      requires: [], configSchema: nil, artifacts: [], runtime: "c", isPure: true, headers: [],
      needsTimestamps: false, needsNetwork: false, paths: paths, memoryMegabytes: memory, publisher: "acme",
      builtFrom: "")
    manifest.headers = []
    // Not the hash of the bytes: the host takes the registry's word for it, and only needs a name for each variant.
    let hash = hash ?? Hex.string(UInt64(variant.rawValue + 1)) + String(repeating: "0", count: 48)
    return VerifiedArtifact(
      manifest: manifest, sha256: hash, bytes: SharedBytes(bytes), trust: .trusted, grants: grants)
  }
}

/// A clock that stands until it is moved.
final class TestTime: TimeSource {
  private let nanoseconds = Mutex<Int64>(1_000_000_000_000)
  var monotonicNanoseconds: Int64 { nanoseconds.withLock { $0 } }
  var wallMilliseconds: Int64 { nanoseconds.withLock { $0 / 1_000_000 } }
  func advance(seconds: Int64) { nanoseconds.withLock { $0 += seconds * 1_000_000_000 } }
}

/// A host with a run directory of its own, closed and removed at the end.
final class TestHost: Sendable {
  let host: PluginHost
  let folder: String
  let time = TestTime()
  let group: MultiThreadedEventLoopGroup
  let quarantined = TestLog()
  let log = TestLog()

  final class TestLog: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  static var hostProgram: String {
    // Beside the test bundle.
    let folder = TestPlugin.repository.path
    let environment = ProcessInfo.processInfo.environment["SKEIN_PLUGIN_HOST"]
    if let environment { return environment }
    let beside = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("skein-plugin-host").path
    return FileManager.default.isExecutableFile(atPath: beside)
      ? beside : folder + "/.build/debug/skein-plugin-host"
  }

  static func newFolder() -> String {
    FileManager.default.temporaryDirectory.appendingPathComponent("skein-run-\(UUID())").path
  }

  static func with<R>(
    in folder: String? = nil, keep: Bool = false, onHang: @escaping @Sendable (String) -> Void = { _ in },
    _ change: (inout PluginHostConfiguration) -> Void = { _ in }, _ body: (TestHost) async throws -> R
  ) async throws -> R {
    let folder = folder ?? newFolder()
    defer { if !keep { try? FileManager.default.removeItem(atPath: folder) } }
    var configuration = PluginHostConfiguration(hostProgram: hostProgram, runDirectory: folder)
    configuration.pollMilliseconds = 50
    // Nothing of a good plug-in is late on a machine that does much else; tests of deadlines set their own.
    configuration.partitionerDeadlineMilliseconds = 30_000
    configuration.authenticatorDeadlineMilliseconds = 30_000
    configuration.controlDeadlineMilliseconds = 30_000
    configuration.loadDeadlineMilliseconds = 30_000
    configuration.hangLimitMilliseconds = 30_000
    change(&configuration)
    let host = try await TestHost(configuration, folder, onHang)
    do {
      let result = try await body(host)
      await host.end()
      return result
    } catch {
      await host.end()
      throw error
    }
  }

  private init(
    _ configuration: PluginHostConfiguration, _ folder: String, _ onHang: @escaping @Sendable (String) -> Void
  ) async throws {
    self.folder = folder
    group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let quarantined = quarantined
    let log = log
    var logger = Logger(label: "test") { _ in TestLogHandler(log: log) }
    logger.logLevel = .debug
    host = try await PluginHost.start(
      configuration, group: group, time: time, logger: logger,
      onQuarantine: { sha, reference, why in quarantined.add("\(reference) \(why)") },
      onHang: .init(call: onHang))
  }

  private func end() async {
    await host.close()
    try? await group.shutdownGracefully()
  }

  /// Waits for something that another thread brings about; gives up after ten seconds.
  static func eventually(_ what: String, _ condition: () -> Bool) async throws {
    for _ in 0..<1_000 {
      if condition() { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("never: \(what)")
  }
}

struct TestLogHandler: LogHandler {
  let log: TestHost.TestLog
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level = .debug
  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }
  func log(event: LogEvent) {
    let words = (event.metadata ?? [:]).map { "\($0)=\($1)" }.sorted().joined(separator: " ")
    log.add("\(event.level) \(event.message) \(words)")
  }
}

extension PlacementBatch {
  init(_ keys: [String?], partitions: Int32 = 8) {
    self.init(
      topic: TopicID(high: 1, low: 2), partitions: partitions,
      keyLengths: keys.map { $0.map { UInt32($0.utf8.count + 1) } ?? 0 },
      keys: SharedBytes(keys.flatMap { $0.map { Array($0.utf8) } ?? [] }))
  }
}

extension PartitionerInstance {
  func place(_ batch: PlacementBatch, _ host: TestHost) async -> Result<[Int32], Fault> {
    let loop = host.group.next()
    return await withCheckedContinuation { continuation in
      place(batch, on: loop) { continuation.resume(returning: $0) }
    }
  }
}
