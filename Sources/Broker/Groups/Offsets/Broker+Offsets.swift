import DiskIO
import Logging
import MetadataStore
import NIOCore
import NIOPosix
import OffsetStorage
import PluginPackage
import SkeinCore

extension Broker {
  /// Bytes of a store's configuration file.
  private static let mostConfigBytes = 64 << 10

  /// Knows the stores, reads who uses which, and opens those that are used. One that does not open is tried again while
  /// the broker serves: its plug-in may still have to be installed.
  /// - Throws: what makes no sense: a name that there is not, a configuration file that cannot be read or is open to others.
  static func startOffsets(
    _ configuration: BrokerConfiguration, data: PrivateDirectory, store: any MetadataStore,
    keys: MetadataKeys,
    groups: GroupDirectory, plugins: PluginManager, workers: LogWorkers, group: any EventLoopGroup,
    time: any TimeSource,
    random: any RandomSource, logger: Logger
  ) async throws -> GroupOffsets {
    var sources = [
      OffsetStores.Source(name: "sqlite", origin: "built in") { () throws(Fault) in
        try await openSQLite(data, workers, time: time, random: random)
      }
    ]
    for setting in configuration.offsetStores {
      // Now, so that a mistake shows at the start; and again with each opening, for what was changed since.
      _ = try await config(of: setting, workers)
      _ = try PluginReference(parsing: setting.plugin)
      sources.append(
        OffsetStores.Source(name: setting.name, origin: setting.plugin) { () throws(Fault) in
          do {
            let config = try await config(of: setting, workers)
            return PluginOffsetStore(
              name: setting.name,
              instance: try await plugins.offsetStore(
                setting.plugin, config: config, usedBy: "offset store \(setting.name)"),
              loop: group.next())
          } catch {
            let fault = Fault(wrapping: error)
            throw Fault(
              .offsetStoreUnavailable, "the offset store \(setting.name) cannot be opened: \(fault.message)",
              metadata: fault.metadata.merging(["store": setting.name, "cause": fault.reason.name]) { a, _ in
                a
              },
              retryAfterMilliseconds: 1_000)
          }
        })
    }
    let stores = OffsetStores(sources + configuration.offsetStoreSources, time: time, logger: logger)
    do {
      try stores.check(configuration.groupOffsetStore)
    } catch {
      throw Fault(
        .offsetStoreNotFound, "groups.offset-store: \(error.message)", metadata: error.metadata)
    }
    let choices = StoreChoices(
      metadata: store, keys: keys, standard: configuration.groupOffsetStore, time: time)
    try await choices.load()
    plugins.addUsers { reference in
      configuration.offsetStores.filter { $0.plugin == reference.description }.map {
        "offset store \($0.name)"
      }
    }
    for name in choices.used.subtracting(stores.names).sorted() {
      logger.error(
        "groups keep their offsets in a store that the configuration does not name; they cannot commit or be read",
        metadata: ["store": "\(name)", "cure": "name it in offset-stores again"])
    }
    // Those that the configuration names too: their mistakes show early.
    await stores.start(choices.used.union(configuration.offsetStores.map(\.name)))
    return GroupOffsets(
      groups: groups, choices: choices, stores: stores, time: time, logger: logger,
      moveHook: configuration.offsetMoveHook)
  }

  private static func config(
    of setting: OffsetStoreSetting, _ workers: LogWorkers
  ) async throws -> String {
    guard !setting.configFile.isEmpty else { return "" }
    let bytes = try await workers.readPool.runIfActive {
      do throws(Fault) {
        return Result<[UInt8], Fault>.success(
          try PrivateFile.read(setting.configFile, limit: mostConfigBytes))
      } catch {
        return .failure(error)
      }
    }
    return String(decoding: try bytes.get(), as: UTF8.self)
  }

  private static func openSQLite(
    _ data: PrivateDirectory, _ workers: LogWorkers, time: any TimeSource, random: any RandomSource
  ) async throws(Fault) -> any OffsetStore {
    do {
      let disk = try FileDisk(root: try data.folder("offsets").path)
      return try await SQLiteOffsetStore.open(disk: disk, path: "offsets.db", time: time, random: random)
    } catch {
      let why = (error as? MetadataError)?.message ?? "\(error)"
      throw Fault(
        .offsetStoreUnavailable, "the offset store sqlite cannot be opened: \(why)",
        metadata: ["store": "sqlite"],
        retryAfterMilliseconds: 1_000)
    }
  }
}
