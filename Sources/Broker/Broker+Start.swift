import CommitLog
import DiskIO
import Gateway
package import Logging
import MetadataStore
import NIOCore
import NIOPosix
import PluginPackage
package import SkeinCore
import Transport

extension Broker {
  /// Starts a broker; returns when it serves.
  ///
  /// - Parameters:
  ///   - onFatal: called at most once, on any thread, when the log directory went offline (R56): the
  ///     broker answers errors from then on and should be restarted, which recovers what is durable.
  ///   - onDrain: called at most once, on any thread, when a client ordered the drain (Cluster/Drain): the
  ///     owner calls `stop`, as for SIGTERM. Until then the broker only refuses new calls.
  /// - Throws: `Fault` with what is wrong and the cure.
  package static func start(
    _ configuration: BrokerConfiguration, time: any TimeSource, random: any RandomSource,
    logger: Logger, onFatal: @escaping @Sendable (Fault) -> Void = { _ in },
    onDrain: @escaping @Sendable () -> Void = {}
  ) async throws -> Broker {
    let group = MultiThreadedEventLoopGroup(
      numberOfThreads: configuration.eventLoops == 0
        ? max(1, System.coreCount - 1) : configuration.eventLoops)
    var opened = OpenedParts()
    do {
      return try await start(
        configuration, group: group, time: time, random: random, logger: logger, onFatal: onFatal,
        onDrain: onDrain, opened: &opened)
    } catch {
      await opened.close()
      try? await group.shutdownGracefully()
      throw error
    }
  }

  /// What must be closed when a later step of the start fails.
  private struct OpenedParts {
    var store: (any MetadataStore)?
    var workers: LogWorkers?
    var server: GRPCServer?
    var tokenServer: GRPCServer?
    var gateway: JSONGateway?
    var plugins: PluginManager?
    var groupOffsets: GroupOffsets?

    func close() async {
      await server?.close()
      await tokenServer?.close()
      await gateway?.close()
      await groupOffsets?.close()
      await plugins?.close()
      await workers?.stop()
      await store?.close()
    }
  }

  private static func start(
    _ configuration: BrokerConfiguration, group: MultiThreadedEventLoopGroup,
    time: any TimeSource, random: any RandomSource, logger: Logger,
    onFatal: @escaping @Sendable (Fault) -> Void, onDrain: @escaping @Sendable () -> Void,
    opened: inout OpenedParts
  ) async throws -> Broker {
    let data = try PrivateDirectory(preparing: configuration.dataDirectory)
    let budget = MemoryBudget(limit: configuration.memoryBudget)

    let store = try await SQLiteStore.open(
      disk: try FileDisk(root: data.folder("metadata").path), path: "metadata.db", time: time, random: random)
    opened.store = store
    let keys = MetadataKeys(cluster: configuration.clusterID)
    let registry = TopicRegistry(
      store: store, keys: keys, maximumPartitions: configuration.maximumPartitions, time: time,
      random: random)
    let (topics, deleted) = try await registry.load()

    let directory = try LogDirectory.open(
      disk: try FileDisk(root: data.folder("log").path),
      configuration: LogConfiguration(configuration), time: time, random: random)
    let workers = LogWorkers(directory: directory, logger: logger)
    opened.workers = workers
    let report = directory.recovery
    logger.info(
      "log recovered",
      metadata: [
        "clean": "\(report.wasClean)", "torn": "\(report.torn)", "epoch": "\(report.leaderEpoch)",
      ])
    for key in report.corruptPartitions {
      logger.error("partition is corrupt and offline", metadata: ["partition": "\(key)"])
    }

    let shards = group.makeIterator().map { loop in
      PartitionShard(
        loop: loop, directory: directory, time: time, ioPool: workers.readPool, budget: budget,
        notifyFlusher: { workers.notifyFlusher() })
    }
    let partitions = PartitionMap(shards: shards)
    let health = HealthState()
    let metrics = BrokerMetrics()
    workers.start(
      advanced: { advances in
        metrics.syncs.add(1)
        partitions.advance(advances)
      },
      failure: { error in
        health.enter(.failed)
        partitions.failAll(error.fault)
        onFatal(error.fault)
      })

    let plugins = try await startPlugins(
      configuration, data: data, store: store, keys: keys, workers: workers, group: group, time: time,
      logger: logger)
    opened.plugins = plugins
    let tokens = TokenRegistry(store: store, keys: keys, time: time, random: random)
    try await tokens.load()
    let authenticator = configuration.tokenListener.map { listener in
      TokenAuthenticator(
        id: listener.authenticator, address: hostPort(listener.host, listener.port), registry: tokens,
        source: configuration.authenticatorSource ?? plugins, time: time, metrics: metrics, logger: logger)
    }
    let groups = GroupDirectory(
      configuration: configuration.groups, registry: registry, time: time, logger: logger)
    let groupOffsets = try await startOffsets(
      configuration, data: data, store: store, keys: keys, groups: groups, plugins: plugins, workers: workers,
      group: group,
      time: time, random: random, logger: logger)
    opened.groupOffsets = groupOffsets
    let context = BrokerContext(
      identity: BrokerIdentity(
        clusterID: configuration.clusterID, brokerID: configuration.brokerID, version: version,
        startedMilliseconds: time.wallMilliseconds),
      tenants: configuration.tenants, limits: configuration.limits, registry: registry,
      partitions: partitions, workers: workers,
      producerIDs: ProducerIDs(store: store, key: keys.producerIDs), admin: AdminQueue(),
      metrics: metrics, readBudget: MemoryBudget(limit: configuration.memoryBudget / 2), health: health,
      time: time, logger: logger, budget: budget, logPath: try data.folder("log").path,
      feed: ClusterFeed(
        startedMilliseconds: time.wallMilliseconds, capacity: configuration.watchedChanges),
      drain: DrainSwitch(
        health: health, deadlineMilliseconds: configuration.drainMilliseconds, order: onDrain),
      plugins: plugins,
      partitioning: Partitioning(
        source: configuration.partitionerSource ?? plugins, time: time, logger: logger),
      partitionerWatchMilliseconds: configuration.partitionerWatchMilliseconds,
      tokens: tokens, authenticator: authenticator, groups: groups,
      groupOffsets: groupOffsets,
      maximumUncommitted: configuration.maximumUncommitted,
      fenceWaitMilliseconds: configuration.fenceWaitMilliseconds, random: random)
    registry.watch { topic, _ in context.feed.changed(topic) }
    if let listener = configuration.tokenListener {
      let user = "listener \(hostPort(listener.host, listener.port))"
      plugins.addUsers { $0.description == listener.authenticator ? [user] : [] }
    }
    plugins.addUsers { context.partitioning.uses(of: $0, registry) }
    _ = health.watch { phase in context.feed.set { $0.phase = phase } }
    try await context.producerIDs.fetchBlock()
    try await restore(topics, deleted: deleted, context)
    await context.restorePartitioners(topics)
    try await groups.open(context)

    let router = Router(
      context: context, health: HealthService(health: health, services: Router.services))
    var jsonLimits = JSONLimits()
    jsonLimits.maxBodyBytes = configuration.limits.maxMessageBytes
    let gateway = JSONGateway(limits: jsonLimits, budget: budget)
    opened.gateway = gateway
    var serving = ServerConfiguration(
      tls: configuration.tls, limits: TransportLimits(configuration), budget: budget,
      log: { event in
        metrics.count(event)
        logger.log(event)
      }, explain: GRPCStatus.explained)
    serving.wallSeconds = { time.wallMilliseconds / 1000 }
    serving.random = random
    serving.http = gateway
    let server = try GRPCServer(
      configuration: serving, group: group, router: { router.handler(for: $0) })
    opened.server = server
    let port = try await server.bind(host: configuration.host, port: configuration.port)
    health.bound(to: hostPort(configuration.host, port))
    var tokenListener: TokenListener?
    if let listener = configuration.tokenListener, let authenticator {
      tokenListener = try await TokenListener.start(
        listener, serving: serving, authenticator: authenticator, group: group, time: time, logger: logger,
        router: router)
      opened.tokenServer = tokenListener?.server
    }
    let operations = try await OperationsServer.start(
      host: configuration.operationsHost, port: configuration.operationsPort, group: group,
      health: health,
      degraded: { authenticator?.problem == nil ? nil : "token listener: its authenticator does not answer" },
      metrics: { try await MetricsPage.render(context, budget: budget) })
    health.enter(.ready)
    return Broker(
      configuration: configuration, context: context, store: store, server: server,
      certificates: CertificateWatch(tls: configuration.tls, server: server, logger: logger),
      tokenListener: tokenListener, gateway: gateway, operations: operations, group: group, budget: budget,
      port: port)
  }

  /// Removes what was deleted, sets aside what nobody knows, serves every known partition.
  private static func restore(
    _ topics: [Topic], deleted: [TopicID], _ context: BrokerContext
  ) async throws {
    let directory = context.workers.directory
    for id in deleted { directory.deleteTopic(id) }
    try await context.workers.flushNow()
    let unknown = try await context.workers.perform {
      try directory.reconcile(topics: Set(topics.map(\.id)))
    }
    for id in unknown {
      context.logger.warning("unknown topic set aside", metadata: ["topic_id": "\(id)"])
    }
    for id in deleted { try await context.registry.forget(id) }
    for topic in topics { try await context.open(topic) }
    context.logger.info(
      "topics opened",
      metadata: [
        "topics": "\(topics.count)", "partitions": "\(context.registry.counts.partitions)",
      ])
  }
}

extension LogConfiguration {
  /// One file of the ring, in bytes: twice the largest batch, so that every batch finds a place.
  private static let journalFileBytes: Int64 = 32 << 20

  init(_ configuration: BrokerConfiguration) {
    self.init(clusterID: configuration.clusterID)
    journal.fileSize = Self.journalFileBytes
    journal.fileCount = max(2, Int(configuration.journalBytes / Self.journalFileBytes))
    reserveBytes = configuration.diskReserveBytes
    compactionBytes = configuration.compactionBytes
    #if DEBUG
      if configuration.acknowledgesBeforeSync { breakages.insert(.acknowledgeBeforeSync) }
    #endif
  }
}

extension TransportLimits {
  init(_ configuration: BrokerConfiguration) {
    self.init()
    maxMessageBytes = configuration.limits.maxMessageBytes
    maxConcurrentCalls = UInt32(configuration.limits.maxStreams)
    streamWindowBytes = configuration.streamWindowBytes
    connectionWindowBytes = configuration.connectionWindowBytes
    maxConnectionAge = configuration.maxConnectionAgeMilliseconds.map { .milliseconds($0) }
    maxCallAge = configuration.maxStreamAgeMilliseconds.map { .milliseconds($0) }
    goAwayGrace = .milliseconds(configuration.drainMilliseconds)
    minBytesPerSecond = configuration.minBytesPerSecond
    outboundStallTimeout = .milliseconds(configuration.unreadMilliseconds)
  }
}

extension BrokerMetrics {
  func count(_ event: TransportEvent) {
    if event.kind == .handshakeFailed { handshakeFailures.add(1) }
  }
}

extension Logger {
  /// Who was refused, and why, in the words of the transport.
  func log(_ event: TransportEvent) {
    warning(
      "connection",
      metadata: [
        "event": "\(event.kind.rawValue)", "peer": "\(event.remoteAddress)", "why": "\(event.detail)",
      ])
  }
}
