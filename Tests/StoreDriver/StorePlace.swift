import ArgumentParser
import Dispatch
import DiskIO
import Foundation
import Logging
import NIOCore
import NIOPosix
import OffsetStorage
import PluginHost
import PluginPackage
import SkeinCore

/// Which store, and how it is opened.
struct StorePlace: ParsableArguments {
  @Option(help: "A plug-in's .so; it runs in a child, as in a broker.") var plugin: String?
  @Option(help: "ID@VERSION, as in its manifest.") var id = "com.skein.test@1.0.0"
  @Option(help: "A file with its configuration (JSON).") var config: String?
  @Option(help: "skein-plugin-host; beside this program if not given.") var host: String?
  @Flag(help: "The plug-in has the grant `network`.") var network = false
  @Option(help: "What it may read, as in its manifest; repeatable.") var path: [String] = []
  @Option(help: "Milliseconds for one request.") var deadline: Int64 = 5_000
  @Option(help: "The embedded store in this folder.") var sqlite: String?

  func opened() async throws -> OpenedStores {
    if let sqlite {
      let disk = try FileDisk(root: sqlite)
      return OpenedStores(
        open: {
          try await SQLiteOffsetStore.open(
            disk: disk, path: "offsets.db", time: DriverTime(), random: SystemRandom())
        }, close: {})
    }
    guard let plugin else { throw ValidationError("--plugin or --sqlite is needed") }
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-store-\(UUID())").path
    var hosting = PluginHostConfiguration(hostProgram: host ?? Self.hostProgram, runDirectory: folder)
    hosting.offsetStoreDeadlineMilliseconds = deadline
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    var logger = Logger(label: "store-driver") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = .info
    let host = try await PluginHost.start(
      hosting, group: group, time: DriverTime(), logger: logger,
      onQuarantine: { _, reference, why in StoreDriver.say("quarantined \(reference): \(why)") })
    let artifact = try artifact(plugin)
    let json = try config.map { try String(contentsOfFile: $0, encoding: .utf8) } ?? "{}"
    let deadline = deadline
    return OpenedStores(
      open: {
        // The child of an instance that was just closed may still be ending.
        for _ in 0..<100 {
          do throws(Fault) {
            return PluginOffsetStore(
              name: "driver", instance: try await host.offsetStore(artifact, config: json, usedBy: "driver"),
              loop: group.next(), deadline: .milliseconds(deadline))
          } catch {
            guard error.reason == .pluginFault, error.retryAfterMilliseconds != nil else { throw error }
            try await Task.sleep(for: .milliseconds(50))
          }
        }
        throw Fault(.pluginFault, "the plug-in could not be started for 5 s")
      },
      close: {
        await host.close()
        try? FileManager.default.removeItem(atPath: folder)
      })
  }

  private func artifact(_ plugin: String) throws -> VerifiedArtifact {
    let manifest = Manifest(
      reference: try PluginReference(parsing: id), kinds: [.offsetStore], abiMajor: 1, abiMinor: 0,
      requires: [],
      configSchema: nil, artifacts: [], runtime: "c", isPure: false, headers: [], needsTimestamps: false,
      needsNetwork: network, paths: path, memoryMegabytes: 256, publisher: "driver", builtFrom: "")
    return VerifiedArtifact(
      manifest: manifest, sha256: String(repeating: "d", count: 64),
      bytes: SharedBytes([UInt8](try Data(contentsOf: URL(fileURLWithPath: plugin)))), trust: .trusted,
      grants: network ? [.network] : [])
  }

  private static var hostProgram: String {
    URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("skein-plugin-host").path
  }
}

struct OpenedStores: Sendable {
  let open: @Sendable () async throws -> any OffsetStore
  /// After the last of them is closed.
  let close: @Sendable () async -> Void
}

struct DriverTime: TimeSource {
  var monotonicNanoseconds: Int64 { Int64(DispatchTime.now().uptimeNanoseconds) }
  var wallMilliseconds: Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }
}

struct SystemRandom: RandomSource {
  func next() -> UInt64 { UInt64.random(in: 0 ... .max) }
}
