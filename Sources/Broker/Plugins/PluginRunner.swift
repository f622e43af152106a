import NIOCore
import PluginHost
import PluginPackage
import SkeinCore

/// Runs plug-ins: what the manager needs of `PluginHost`, so that tests put another one in its place.
/// Any task.
protocol PluginRunner: Sendable {
  /// Tries a file in a fresh child, always, and says what was seen.
  /// - Throws: `PLUGIN_PROBE_FAILED`.
  func probe(_ artifact: VerifiedArtifact) async throws(Fault) -> String
  func partitioner(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any PartitionerInstance
  func authenticator(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance
  func offsetStore(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any OffsetStoreInstance
  /// Nil: it does not run, and nothing is held against it.
  func condition(of reference: PluginReference, sha256: String) -> PluginCondition?
  /// Those that somebody holds.
  func instances(of reference: PluginReference) -> Int
  /// Ends a quarantine and forgets the strikes.
  func release(_ sha256: String) throws(Fault)
  /// Lines of the Prometheus text format.
  func metrics() -> [String]
  /// Why the broker is not healthy: one of its threads hangs in a plug-in; nil: none does.
  var stuck: String? { get }
  func close() async
}

extension PluginRunner {
  func offsetStore(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any OffsetStoreInstance {
    throw Fault(
      .offsetStoreUnavailable, "\(artifact.manifest.reference) cannot run: this broker runs no offset stores",
      retryAfterMilliseconds: 1_000)
  }
  func instances(of reference: PluginReference) -> Int { 0 }
  func metrics() -> [String] { [] }
  var stuck: String? { nil }
}

/// How a plug-in is doing since the broker started.
struct PluginCondition: Sendable {
  /// "broker" or "child".
  var placement = "child"
  /// Why it is not run any more; nil: it is.
  var quarantine: String?
  var processID: Int32 = 0
  var restarts = 0
  /// In the last ten minutes.
  var strikes = 0
  var calls: UInt64 = 0
  var records: UInt64 = 0
  var faults: UInt64 = 0
  var nanosecondsPerRecord: UInt64 = 0
  var recentFaults: [Incident] = []

  struct Incident: Sendable {
    var atMilliseconds: Int64
    /// As `PluginFault.kind` of plugins.proto.
    var kind: String
    var detail: String
    var usedBy: String
  }
}
