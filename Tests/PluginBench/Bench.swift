import Dispatch
import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix
import PluginHost
import PluginPackage
import SkeinCore

/// ```
/// PluginBench figures FILE.so ID VERSION [HOST-PROGRAM]   ns a key in the broker and in a child, load time, memory
/// PluginBench once FILE.so ID VERSION RUN KEY HANG-MS     places KEY in this very process
/// ```
enum Bench {
  static func run(_ arguments: [String]) async {
    do {
      switch arguments.dropFirst().first {
      case "figures" where arguments.count >= 5: try await figures(arguments)
      case "once" where arguments.count == 8: try await once(arguments)
      default:
        print(
          "PluginBench figures FILE.so ID VERSION [HOST-PROGRAM] | once FILE.so ID VERSION RUN KEY HANG-MS")
        exit(64)
      }
    } catch {
      print("failed: \(error)")
      exit(1)
    }
  }

  // MARK: One call, for the tests of crumbs

  private static func once(_ arguments: [String]) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    var configuration = PluginHostConfiguration(
      hostProgram: hostProgram(arguments), runDirectory: arguments[5])
    configuration.hangLimitMilliseconds = Int64(arguments[7]) ?? 10_000
    let host = try await PluginHost.start(
      configuration, group: group, time: BenchTime(), logger: Logger(label: "bench"),
      onQuarantine: { sha256, _, why in print("quarantined \(sha256): \(why)") })
    let artifact = try artifact(arguments, grants: [.inProcess])
    let instance = try await host.partitioner(artifact, config: "", usedBy: "bench")
    print("placement \(host.status(instance.reference)?.placement.rawValue ?? "none")")
    fflush(nil)
    let key = Array(arguments[6].utf8)
    let batch = PlacementBatch(
      topic: TopicID(high: 7, low: 9), partitions: 8, keyLengths: [UInt32(key.count + 1)],
      keys: SharedBytes(key))
    let result = await place(instance, batch, group.next())
    print("placed \(result)")
    await host.close()
  }

  // MARK: Figures

  private static func figures(_ arguments: [String]) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-bench-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let host = try await PluginHost.start(
      PluginHostConfiguration(hostProgram: hostProgram(arguments, at: 5), runDirectory: folder), group: group,
      time: BenchTime(), logger: Logger(label: "bench"), onQuarantine: { _, _, _ in })

    var starts: [Int64] = []
    var loads: [Int64] = []
    for _ in 0..<5 {
      let report = try await host.probe(try artifact(arguments), config: "")
      starts.append(report.startNanoseconds / 1_000)
      loads.append(report.loadNanoseconds / 1_000)
    }
    print(
      "child, start to loaded: \(starts.sorted()[2]) us (median of 5), of it the plug-in's load \(loads.sorted()[2]) us"
    )

    let child = try await host.partitioner(try artifact(arguments), config: "", usedBy: "bench")
    for size in [1, 100, 1_000] { try await measure("child", child, size, group.next()) }
    try await Task.sleep(for: .milliseconds(1_200))
    let bytes = host.status(child.reference)?.residentBytes ?? 0
    print("child, memory: \(bytes >> 10) KiB resident")

    let before = resident()
    let began = ContinuousClock().now
    let inside = try await host.partitioner(
      try artifact(arguments, grants: [.inProcess], hash: "b"), config: "", usedBy: "bench")
    print(
      "broker, probe and load: \(ContinuousClock().now - began); memory \((resident() - before) >> 10) KiB")
    for size in [1, 100, 1_000] { try await measure("broker", inside, size, group.next()) }
    await host.close()
  }

  /// Best of nine rounds; the first makes everything warm.
  private static func measure(
    _ label: String, _ instance: any PartitionerInstance, _ size: Int, _ loop: any EventLoop
  ) async throws {
    let key = Array("0123456789abcdef".utf8)
    let batch = PlacementBatch(
      topic: TopicID(high: 7, low: 9), partitions: 12, keyLengths: [UInt32](repeating: 17, count: size),
      keys: SharedBytes((0..<size).flatMap { _ in key }))
    let calls = max(200, 20_000 / size)
    var rounds: [Int64] = []
    for _ in 0..<9 { rounds.append(try await round(instance, batch, calls, loop) / Int64(calls)) }
    let best = rounds.min() ?? 0
    print("\(label), batches of \(size): \(best) ns a batch, \(best / Int64(size)) ns a key")
  }

  /// One call after another, on the loop that also has the child's socket. Nanoseconds.
  private static func round(
    _ instance: any PartitionerInstance, _ batch: PlacementBatch, _ calls: Int, _ loop: any EventLoop
  ) async throws -> Int64 {
    try await withCheckedThrowingContinuation { continuation in
      let began = DispatchTime.now().uptimeNanoseconds
      @Sendable func next(_ left: Int) {
        guard left > 0 else {
          return continuation.resume(returning: Int64(DispatchTime.now().uptimeNanoseconds - began))
        }
        instance.place(batch, on: loop) { result in
          switch result {
          case .success:
            // An answer that comes at once would nest as deep as there are calls.
            if left % 64 == 0 { loop.execute { next(left - 1) } } else { next(left - 1) }
          case .failure(let fault): continuation.resume(throwing: fault)
          }
        }
      }
      loop.execute { next(calls) }
    }
  }

  private static func place(
    _ instance: any PartitionerInstance, _ batch: PlacementBatch, _ loop: any EventLoop
  ) async -> String {
    await withCheckedContinuation { continuation in
      instance.place(batch, on: loop) { continuation.resume(returning: "\($0)") }
    }
  }

  private static func resident() -> Int64 {
    guard let text = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
      let kilobytes = line.split(separator: " ").dropFirst().first.flatMap({ Int64($0) })
    else { return 0 }
    return kilobytes << 10
  }

  private static func artifact(
    _ arguments: [String], grants: Set<PluginGrant> = [], hash: Character = "a"
  ) throws -> VerifiedArtifact {
    let bytes = try Data(contentsOf: URL(fileURLWithPath: arguments[2]))
    let manifest = Manifest(
      reference: try PluginReference(parsing: "\(arguments[3])@\(arguments[4])"), kinds: [.partitioner],
      abiMajor: 1, abiMinor: 0, requires: [], configSchema: nil, artifacts: [], runtime: "c", isPure: true,
      headers: [], needsTimestamps: false, needsNetwork: false, paths: [], memoryMegabytes: 256,
      publisher: "bench", builtFrom: "")
    return VerifiedArtifact(
      manifest: manifest, sha256: String(repeating: hash, count: 64), bytes: SharedBytes([UInt8](bytes)),
      trust: .trusted, grants: grants)
  }

  private static func hostProgram(_ arguments: [String], at index: Int = .max) -> String {
    if index < arguments.count { return arguments[index] }
    return URL(fileURLWithPath: arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("skein-plugin-host").path
  }
}

struct BenchTime: TimeSource {
  var monotonicNanoseconds: Int64 { Int64(DispatchTime.now().uptimeNanoseconds) }
  var wallMilliseconds: Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }
}
