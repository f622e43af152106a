import PluginPackage
import PluginRegistry
import SkeinCore
import Wire

extension BrokerContext {
  /// What the store holds of a version, as it was signed.
  struct StoredManifest: Sendable {
    var bytes: [UInt8]
    var manifest: Manifest
  }

  func users(of builtIn: BuiltInPartitioner) -> [String] {
    registry.all.filter { $0.tenant != .system && $0.builtIn == builtIn }.map { "topic \($0.name)" }.sorted()
  }

  func summary(of builtIn: BuiltInPartitioner) -> PluginSummary {
    PluginSummary(
      id: builtIn.rawValue, kinds: [PluginKind.partitioner.word], trust: TrustLevel.builtin.rawValue,
      placement: "broker", state: "ready", uses: UInt32(clamping: users(of: builtIn).count))
  }

  /// Bytes of files that one List reads again; beyond it, what was done to a file shows in Describe.
  static let listedBytes = 256 << 20

  /// An installed version for people: it reads its file again, so what was done to it shows here first.
  /// - Parameter budget: reads no file that is larger than this; nil: reads it.
  /// - Returns: why it is not ready, if it is not.
  func summary(
    of entry: CatalogueEntry, within budget: Int? = nil
  ) async -> (summary: PluginSummary, manifest: StoredManifest?, problem: Fault?) {
    let reference = entry.reference
    let condition = plugins.runner.condition(of: reference, sha256: entry.sha256)
    var summary = PluginSummary(
      id: reference.id, version: reference.version, trust: entry.trust?.rawValue ?? "",
      placement: condition?.placement ?? (entry.grants.contains(.inProcess) ? "broker" : "child"),
      state: "ready", uses: UInt32(clamping: plugins.uses(of: reference).count), sha256: entry.sha256,
      grants: entry.grants.map(\.rawValue).sorted(), installedMs: entry.installedMilliseconds)
    var problem: Fault?
    var stored: StoredManifest?
    do throws(Fault) {
      let bytes = try await plugins.registry.manifest(reference)
      let manifest = try Manifest(parsing: bytes)
      stored = StoredManifest(bytes: bytes, manifest: manifest)
      summary.kinds = manifest.kinds.map(\.word)
      let size = manifest.artifacts.first { $0.sha256 == entry.sha256 }?.size ?? 0
      if size <= budget ?? .max {
        _ = try await plugins.registry.artifact(reference)
      } else if entry.trust == nil {
        try await plugins.registry.checkTrust(reference)
      }
    } catch {
      problem = error
      summary.state = "failed"
    }
    if problem == nil, let why = condition?.quarantine {
      problem = PluginManager.quarantined(reference, why)
      summary.state = "quarantined"
    }
    if problem == nil, !entry.isEnabled {
      problem = Fault(
        .pluginDisabled, "\(reference) is disabled; `skein plugin enable \(reference)` lets it be used again",
        metadata: ["plugin": reference.description])
      summary.state = "disabled"
    }
    return (summary, stored, problem)
  }
}
