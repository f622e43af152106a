import PluginHost
import PluginPackage
import SkeinCore

/// Where partitioners come from that are not built in: the plug-in manager, or a test.
protocol PartitionerSource: Sendable {
  /// Makes an instance with this configuration.
  /// - Parameters:
  ///   - reference: "ID@VERSION".
  ///   - usedBy: the topic's name, for status and logs.
  /// - Throws: `INVALID_REQUEST`, `PLUGIN_NOT_FOUND`, `PLUGIN_WRONG_KIND`, `PLUGIN_DISABLED`,
  ///   `PLUGIN_QUARANTINED`, `PLUGIN_CONFIG_INVALID`, `PLUGIN_REFUSED`, `PLUGIN_PROBE_FAILED`, `PLUGIN_FAULT`.
  func load(_ reference: String, config: String, usedBy: String) async throws(Fault) -> LoadedPartitioner
}

/// An instance, and what its manifest says that the broker needs to know.
struct LoadedPartitioner: Sendable {
  let instance: any PartitionerInstance
  /// Of the file that runs, hexadecimal.
  let sha256: String
  /// What it looks at besides keys.
  var headers: [String]
  var needsTimestamps: Bool
}

extension PluginManager: PartitionerSource {
  func load(_ reference: String, config: String, usedBy: String) async throws(Fault) -> LoadedPartitioner {
    let manifest = try await manifest(reference)
    let instance = try await partitioner(reference, config: config, usedBy: "topic \(usedBy)")
    let ours = manifest.artifacts.first { $0.os == "linux" && $0.architecture == Self.architecture }
    return LoadedPartitioner(
      instance: instance, sha256: ours?.sha256 ?? "", headers: manifest.headers,
      needsTimestamps: manifest.needsTimestamps)
  }

  private static var architecture: String {
    #if arch(arm64)
      "arm64"
    #else
      "amd64"
    #endif
  }
}
