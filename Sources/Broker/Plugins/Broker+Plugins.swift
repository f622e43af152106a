import DiskIO
import Logging
import MetadataStore
import NIOCore
import NIOPosix
import PluginHost
import PluginPackage
import PluginRegistry
import SkeinCore

extension Broker {
  /// Opens the registry in `data/plugins` and makes ready what runs plug-ins.
  static func startPlugins(
    _ configuration: BrokerConfiguration, data: PrivateDirectory, store: any MetadataStore,
    keys: MetadataKeys, workers: LogWorkers, group: any EventLoopGroup, time: any TimeSource, logger: Logger
  ) async throws -> PluginManager {
    let folder = try data.folder("plugins")
    var settings = PluginRegistry.Settings()
    settings.allowDev = configuration.allowsDevelopmentPlugins
    settings.releaseKey = configuration.pluginReleaseKey
    settings.reserveBytes = configuration.diskReserveBytes
    let registry = try await PluginRegistry.open(
      store: store, keyPrefix: keys.plugins, disk: try FileDisk(root: folder.path), settings: settings,
      time: time, blocking: BlockingWork { work in workers.readPool.submit { _ in work() } })
    if configuration.allowsDevelopmentPlugins {
      logger.warning("plugins.allow-dev is true: plug-ins that nobody signed may be installed and run")
    }
    return PluginManager(
      registry: registry,
      runner: try await runner(configuration, folder: folder, group: group, time: time, logger: logger))
  }

  private static func runner(
    _ configuration: BrokerConfiguration, folder: PrivateDirectory, group: any EventLoopGroup,
    time: any TimeSource, logger: Logger
  ) async throws -> any PluginRunner {
    if let runner = configuration.pluginRunner { return runner }
    guard !configuration.pluginHostProgram.isEmpty else { return AbsentPluginRunner() }
    var hosting = PluginHostConfiguration(
      hostProgram: configuration.pluginHostProgram, runDirectory: folder.path + "/run")
    if configuration.pluginUserID != 0 {
      hosting.childUser = .init(uid: configuration.pluginUserID, gid: configuration.pluginUserID)
    }
    return HostedPlugins(
      host: try await PluginHost.start(
        hosting, group: group, time: time, logger: logger
      ) { sha256, reference, why in
        logger.error(
          "plugin quarantined",
          metadata: ["plugin": "\(reference)", "sha256": "\(sha256)", "why": "\(why.displayable)"])
      })
  }
}

/// Where no program is that could run plug-ins: each is refused, and none is ever tried inside the broker.
struct AbsentPluginRunner: PluginRunner {
  func probe(_ artifact: VerifiedArtifact) async throws(Fault) -> String {
    throw Fault(
      .pluginProbeFailed,
      "\(artifact.manifest.reference) cannot be tried: the program skein-plugin-host is not there; install it beside skeind, or set plugins.host-program"
    )
  }

  func partitioner(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any PartitionerInstance {
    throw Self.unavailable(artifact, .partitionerUnavailable)
  }

  func authenticator(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance {
    throw Self.unavailable(artifact, .authenticatorUnavailable)
  }

  func offsetStore(
    _ artifact: VerifiedArtifact, config: String, usedBy: String
  ) async throws(Fault) -> any OffsetStoreInstance {
    throw Self.unavailable(artifact, .offsetStoreUnavailable)
  }

  func condition(of reference: PluginReference, sha256: String) -> PluginCondition? { nil }
  func release(_ sha256: String) throws(Fault) {}
  func close() async {}

  private static func unavailable(_ artifact: VerifiedArtifact, _ reason: Reason) -> Fault {
    Fault(
      reason,
      "\(artifact.manifest.reference) cannot run: the program skein-plugin-host is not there; install it beside skeind, or set plugins.host-program"
    )
  }
}
