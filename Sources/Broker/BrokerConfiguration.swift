package import GroupCoordination
package import SkeinCore
package import Transport

/// Everything that a broker can be told, with its defaults. One adapter in `skeind` fills it from
/// file, environment and flags.
package struct BrokerConfiguration: Sendable {
  /// Where journal, segments and metadata live. Must be a folder of the broker's own.
  package var dataDirectory: String
  /// gRPC over TLS. Port 0 = any free one.
  package var host = "127.0.0.1"
  package var port = 7600
  /// Operations over HTTP.
  package var operationsHost = "127.0.0.1"
  package var operationsPort = 7601
  package var tls: ServerTLS
  package var clusterID = "local"
  package var brokerID: Int32 = 1
  /// Event loops; 0 = one per core but one, which the log's threads need (ADR 0007).
  package var eventLoops = 0
  /// Bytes that buffers for clients may hold at once.
  package var memoryBudget = 512 << 20
  package var limits = BrokerLimits()
  /// HTTP/2 receive windows, in bytes: what a client may send before it is answered. Larger than a client's
  /// own, because a publisher's credit comes back with the synced answer (ADR 0006).
  package var streamWindowBytes: Int32 = 16 << 20
  package var connectionWindowBytes: Int32 = 32 << 20
  /// Partitions of all topics together: each costs memory and upkeep even when idle.
  package var maximumPartitions = 200_000
  /// Changes kept for Cluster/Watch, all watchers together; who falls behind them begins again.
  package var watchedChanges = 4_096
  /// The journal ring's size in bytes.
  package var journalBytes: Int64 = 256 << 20
  /// Produce is refused while less than this is free on the disk, in bytes (R57).
  package var diskReserveBytes: Int64 = 1 << 30
  /// Milliseconds that a stop waits for open calls.
  package var drainMilliseconds: Int64 = 10_000
  /// Milliseconds between two rounds of upkeep (retention, roll by time, checkpoint).
  package var maintenanceMilliseconds: Int64 = 5_000
  /// Milliseconds between two looks at the files of `tls`; 0: only `reloadCertificates` does.
  package var certificateWatchMilliseconds: Int64 = 10_000
  /// Ages at which connections and streams are asked to end, spread by a tenth; nil: none.
  package var maxConnectionAgeMilliseconds: Int64?
  package var maxStreamAgeMilliseconds: Int64?
  /// The least rate of a message that is being received, and of answers that wait, in bytes per second.
  package var minBytesPerSecond = 256
  /// How long answers may wait below that rate.
  package var unreadMilliseconds: Int64 = 300_000
  /// Bytes a second at which sealed segments are read again and verified (R55); 0 = never.
  package var scrubBytesPerSecond = 4 << 20
  /// Milliseconds from the beginning of one such round to the next.
  package var scrubIntervalMilliseconds: Int64 = 86_400_000
  /// Consumer groups: limits, and times in milliseconds.
  package var groups = GroupConfiguration()
  /// Records beyond its commit that a group gets of a partition while its offset store does not answer.
  package var maximumUncommitted: Int64 = 100_000
  /// How long a group's partition waits at the cut of a fenced swap for the others; 0 = not at all.
  package var fenceWaitMilliseconds: Int64 = 300_000
  /// Memory for the keys of one compaction, in bytes.
  package var compactionBytes = 64 << 20
  /// Bytes a second that compaction may read and write together; 0 = never.
  package var compactionBytesPerSecond = 64 << 20
  /// Milliseconds from the end of all due compactions to the next look.
  package var compactionIntervalMilliseconds: Int64 = 15_000
  /// In which store new groups keep their offsets: `log`, `sqlite`, or one of `offsetStores`; tenants and groups may be
  /// given another (`skein group store`).
  package var groupOffsetStore = "log"
  /// Stores in plug-ins.
  package var offsetStores: [OffsetStoreSetting] = []
  /// For tests: further stores, and where a move ends.
  var offsetStoreSources: [OffsetStores.Source] = []
  var offsetMoveHook: MoveHook?
  /// Whose principals may come in. More than one is for tests: nothing makes tenants yet.
  var tenants: Set<TenantName> = [.default]
  /// Where callers with bearer tokens connect; nil: nowhere.
  package var tokenListener: TokenListenerConfiguration?
  /// Where its authenticator comes from instead of the plug-in manager, for tests.
  var authenticatorSource: (any AuthenticatorSource)?
  /// Plug-ins: whether unsigned ones may be installed and loaded.
  package var allowsDevelopmentPlugins = false
  /// The public key (PEM, Ed25519) whose signatures make a plug-in `verified`; empty: none.
  package var pluginReleaseKey = ""
  /// The program in which plug-ins run; empty: none, so that every plug-in is refused.
  package var pluginHostProgram = ""
  /// User and group that children with plug-ins become; 0 = the broker's own.
  package var pluginUserID: UInt32 = 0
  /// Milliseconds that a topic's new partitioner is watched unless the operator says otherwise.
  package var partitionerWatchMilliseconds: Int64 = 300_000
  /// Where partitioners come from instead of the plug-in manager, for tests.
  var partitionerSource: (any PartitionerSource)?
  /// For tests: what runs plug-ins, in the place of `PluginHost`.
  var pluginRunner: (any PluginRunner)?
  #if DEBUG
    /// A deliberate defect for the kill test, which must see that it can fail.
    package var acknowledgesBeforeSync = false
  #endif

  package init(dataDirectory: String, tls: ServerTLS) {
    self.dataDirectory = dataDirectory
    self.tls = tls
  }
  /// The server's certificate chain, its key, and the authorities of clients as PEM files.
  package init(
    dataDirectory: String, certificateFile: String, keyFile: String, clientAuthoritiesFile: String
  ) {
    self.init(
      dataDirectory: dataDirectory,
      tls: ServerTLS(
        certificateChain: .file(certificateFile), privateKey: .file(keyFile),
        clientAuthorities: .file(clientAuthoritiesFile)))
  }

  /// Times of consumer groups, in milliseconds.
  /// - Parameter quarantine: of a process that failed too often, the first time (G22).
  /// - Throws: `INVALID_REQUEST` when members would be removed between two heartbeats.
  package mutating func setGroupTimes(
    session: Int64, reconnectGrace: Int64, heartbeat: Int64, quarantine: Int64 = GroupTimes().quarantine
  ) throws(Fault) {
    guard heartbeat * 2 <= session else {
      throw Fault(
        .invalidRequest,
        "groups.heartbeat-ms (\(heartbeat)) must be at most half of groups.session-ms (\(session)); else members are removed between two heartbeats"
      )
    }
    groups.times.session = session
    groups.times.reconnectGrace = reconnectGrace
    groups.times.heartbeat = heartbeat
    groups.times.quarantine = quarantine
  }

  /// Further certificates by SNI, and revocation lists; an empty name means none.
  package mutating func addTLS(identities: [(certificate: String, key: String)], revocationsFile: String) {
    tls.additional = identities.map {
      .init(certificateChain: .file($0.certificate), privateKey: .file($0.key))
    }
    tls.revocations = revocationsFile.isEmpty ? nil : .file(revocationsFile)
  }
}
