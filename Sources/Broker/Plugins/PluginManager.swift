import PluginHost
import PluginPackage
import PluginRegistry
import SkeinCore
import Synchronization

/// The broker's plug-ins: which are installed, and their instances. What topics and listeners ask.
///
/// Threading: any task.
final class PluginManager: Sendable {
  /// Who uses a plug-in now: "topic orders", "listener 127.0.0.1:7602".
  typealias Users = @Sendable (PluginReference) -> [String]
  private struct State: Sendable {
    var users: [Users] = []
    /// Instances that are being made, by version.
    var loading: [PluginReference: Int] = [:]
  }
  private let state = Mutex(State())

  let registry: PluginRegistry
  let runner: any PluginRunner
  /// Whether an install is under way: one at a time.
  let isInstalling = Atomic<Bool>(false)

  init(registry: PluginRegistry, runner: any PluginRunner) {
    self.registry = registry
    self.runner = runner
  }

  // MARK: Instances

  /// A partitioner of the installed version `ID@VERSION` with this configuration.
  /// - Parameter usedBy: for people, as in `Users`. Who used the version before may have it though it is disabled.
  /// - Throws: `INVALID_REQUEST`, `PLUGIN_NOT_FOUND`, `PLUGIN_DISABLED`, `PLUGIN_WRONG_KIND`, `PLUGIN_CONFIG_INVALID`,
  ///   `PLUGIN_QUARANTINED`, `PLUGIN_REFUSED` (altered since it was installed), `PLUGIN_FAULT`.
  func partitioner(
    _ id: String, config: String, usedBy: String
  ) async throws(Fault) -> any PartitionerInstance {
    let reference = try PluginReference(parsing: id)
    begin(reference)
    defer { end(reference) }
    let artifact = try await ready(reference, .partitioner, config, usedBy)
    return try await runner.partitioner(artifact, config: config.isEmpty ? "{}" : config, usedBy: usedBy)
  }

  /// An authenticator; as `partitioner`.
  func authenticator(
    _ id: String, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance {
    let reference = try PluginReference(parsing: id)
    begin(reference)
    defer { end(reference) }
    let artifact = try await ready(reference, .authenticator, config, usedBy)
    return try await runner.authenticator(artifact, config: config.isEmpty ? "{}" : config, usedBy: usedBy)
  }

  /// An offset store; as `partitioner`.
  func offsetStore(
    _ id: String, config: String, usedBy: String
  ) async throws(Fault) -> any OffsetStoreInstance {
    let reference = try PluginReference(parsing: id)
    begin(reference)
    defer { end(reference) }
    let artifact = try await ready(reference, .offsetStore, config, usedBy)
    if artifact.manifest.needsNetwork, !artifact.grants.contains(.network) {
      throw Fault(
        .pluginRefused,
        "\(reference) needs the network to reach its server, which nobody has granted; `skein plugin grant \(reference) network` does",
        metadata: [
          "plugin": reference.description, "check": "grants",
          "cure": "skein plugin grant \(reference) network",
        ])
    }
    return try await runner.offsetStore(artifact, config: config.isEmpty ? "{}" : config, usedBy: usedBy)
  }

  /// What the author says of an installed version: which headers a partitioner looks at, whether it is pure.
  /// - Throws: `INVALID_REQUEST`, `PLUGIN_NOT_FOUND`, `PLUGIN_REFUSED`.
  func manifest(_ id: String) async throws(Fault) -> Manifest {
    try Manifest(parsing: try await registry.manifest(try PluginReference(parsing: id)))
  }

  /// Everything that can be known before something runs, each time anew.
  private func ready(
    _ reference: PluginReference, _ kind: PluginKind, _ config: String, _ usedBy: String
  ) async throws(Fault) -> VerifiedArtifact {
    let entry = try await registry.entryForUse(reference)
    guard entry.isEnabled || uses(of: reference).contains(usedBy) else {
      throw Fault(
        .pluginDisabled,
        "\(reference) is disabled, so nothing new may use it; `skein plugin enable \(reference)` lets it be used again",
        metadata: ["plugin": reference.description])
    }
    if let why = runner.condition(of: reference, sha256: entry.sha256)?.quarantine {
      throw Self.quarantined(reference, why)
    }
    let artifact = try await registry.artifact(reference)
    guard artifact.manifest.kinds.contains(kind) else {
      let kinds = artifact.manifest.kinds.map(\.word).joined(separator: ", ")
      throw Fault(
        .pluginWrongKind,
        "\(reference) is of the kind \(kinds), and \(usedBy.displayable) needs a plug-in of the kind \(kind.word); `skein plugin list` shows the kinds",
        metadata: ["plugin": reference.description, "kinds": kinds, "needed": kind.word])
    }
    if let schema = artifact.manifest.configSchema {
      let mostBytes =
        kind == .authenticator ? ConfigSchema.mostTableBytes : ConfigSchema.mostConfigBytes
      try ConfigSchema(parsing: schema).check(Array(config.utf8), mostBytes: mostBytes)
    } else {
      try ConfigSchema.checkEmpty(Array(config.utf8))
    }
    return artifact
  }

  /// The quarantine of what a generation runs, also before a batch has met it.
  func quarantine(of generation: TopicGeneration) -> Fault? {
    guard generation.binding.builtIn == nil,
      let reference = try? PluginReference(parsing: generation.binding.partitioner),
      let why = runner.condition(of: reference, sha256: generation.sha256)?.quarantine
    else { return nil }
    return Self.quarantined(reference, why)
  }

  static func quarantined(_ reference: PluginReference, _ why: String) -> Fault {
    Fault(
      .pluginQuarantined,
      "\(reference) is in quarantine: \(why.displayable). Use another version, or run `skein plugin release \(reference)` once you know why",
      metadata: ["plugin": reference.description])
  }

  // MARK: Uses

  /// Adds someone who knows of uses; a plug-in in use cannot be removed. Called while the broker starts.
  func addUsers(_ users: @escaping Users) { state.withLock { $0.users.append(users) } }

  /// Who uses it now.
  func uses(of reference: PluginReference) -> [String] {
    state.withLock { $0.users }.flatMap { $0(reference) }
  }

  /// Who keeps a version from being removed: also who is about to use it, from the first look at its files until the
  /// binding is known and the instance counted.
  func holders(of reference: PluginReference) -> [String] {
    let uses = uses(of: reference)
    guard uses.isEmpty else { return uses }
    let isLoading = state.withLock { $0.loading[reference] != nil }
    let instances = runner.instances(of: reference)
    return isLoading || instances > 0
      ? ["an instance that is beginning or ending; try again in a moment"] : []
  }

  private func begin(_ reference: PluginReference) {
    state.withLock { $0.loading[reference, default: 0] += 1 }
  }

  private func end(_ reference: PluginReference) {
    state.withLock { state in
      let left = (state.loading[reference] ?? 1) - 1
      state.loading[reference] = left > 0 ? left : nil
    }
  }

  func close() async { await runner.close() }
}
