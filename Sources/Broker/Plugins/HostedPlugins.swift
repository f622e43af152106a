import PluginHost
import PluginPackage
import SkeinCore

/// Plug-ins in `PluginHost`: in children, or in the broker where that was granted.
struct HostedPlugins: PluginRunner {
  let host: PluginHost

  func probe(_ artifact: VerifiedArtifact) async throws(Fault) -> String {
    // Without a configuration: one that needs some is tried as far as `create`.
    try await host.probe(artifact, config: "{}").detail
  }

  func partitioner(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any PartitionerInstance {
    try await host.partitioner(artifact, config: config, usedBy: usedBy)
  }

  func authenticator(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance {
    try await host.authenticator(artifact, config: config, usedBy: usedBy)
  }

  func offsetStore(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any OffsetStoreInstance {
    try await host.offsetStore(artifact, config: config, usedBy: usedBy)
  }

  func condition(of reference: PluginReference, sha256: String) -> PluginCondition? {
    let status = host.status(reference)
    let quarantine = host.quarantineReason(sha256)
    guard status != nil || quarantine != nil else { return nil }
    var condition = PluginCondition()
    condition.quarantine = quarantine
    // The same version may have been removed and installed with other bytes.
    guard let status, status.sha256 == sha256 else { return condition }
    condition.placement = status.placement.rawValue
    condition.processID = status.processID
    condition.restarts = Int(status.restarts)
    condition.strikes = Int(status.strikes)
    condition.calls = status.counts.calls
    condition.records = status.counts.records
    condition.faults = status.counts.faults
    condition.nanosecondsPerRecord = status.counts.nanoseconds / max(1, status.counts.records)
    condition.recentFaults = status.faults.map {
      .init(atMilliseconds: $0.atMilliseconds, kind: $0.kind.rawValue, detail: $0.detail, usedBy: $0.usedBy)
    }
    return condition
  }

  func instances(of reference: PluginReference) -> Int { host.status(reference)?.instances ?? 0 }

  func release(_ sha256: String) throws(Fault) {
    // Nothing is held against one that never ran: releasing it is no mistake.
    do throws(Fault) { try host.release(sha256) } catch  where error.reason == .pluginNotFound {}
  }

  func metrics() -> [String] { host.metrics() }
  var stuck: String? { host.stuck }
  func close() async { await host.close() }
}
