import CommitLog
import Logging
import RecordFormat
import SkeinCore

/// What the services share. Immutable after start; every member is safe from any thread.
final class BrokerContext: Sendable {
  let identity: BrokerIdentity
  /// Whose principals may come in.
  let tenants: Set<TenantName>
  let limits: BrokerLimits
  let registry: TopicRegistry
  let partitions: PartitionMap
  let workers: LogWorkers
  let producerIDs: ProducerIDs
  let admin: AdminQueue
  let streams = DrainRegistry()
  let metrics: BrokerMetrics
  /// What Read streams may hold between a read and the socket, in bytes: a part of the memory budget, so
  /// that readers who do not read cannot take the room that publishers need.
  let readBudget: MemoryBudget
  let health: HealthState
  let time: any TimeSource
  let logger: Logger
  /// For `Cluster`: buffers of clients, where the log is, who watches, how to stop.
  let budget: MemoryBudget
  let logPath: String
  let feed: ClusterFeed
  let drain: DrainSwitch
  let plugins: PluginManager
  /// Partitioners that are plug-ins, and changes of topics' partitioners.
  let partitioning: Partitioning
  /// How long a new partitioner is watched unless its operator says otherwise.
  let partitionerWatchMilliseconds: Int64
  let tokens: TokenRegistry
  /// Of the token listener; nil: there is none.
  let authenticator: TokenAuthenticator?
  /// The coordinators of consumer groups, and where the groups' offsets are.
  let groups: GroupDirectory
  let groupOffsets: GroupOffsets
  /// Records beyond the commit that a member gets of a partition while its group's store does not answer.
  let maximumUncommitted: Int64
  /// How long a group's partition waits at the cut of a fenced swap for the others; 0 = not at all.
  let fenceWaitMilliseconds: Int64
  /// Holds the event loops until work that needs them has ended.
  let upkeepGate = UpkeepGate()
  let random: any RandomSource

  init(
    identity: BrokerIdentity, tenants: Set<TenantName>, limits: BrokerLimits, registry: TopicRegistry,
    partitions: PartitionMap, workers: LogWorkers, producerIDs: ProducerIDs, admin: AdminQueue,
    metrics: BrokerMetrics, readBudget: MemoryBudget, health: HealthState, time: any TimeSource,
    logger: Logger, budget: MemoryBudget, logPath: String, feed: ClusterFeed, drain: DrainSwitch,
    plugins: PluginManager, partitioning: Partitioning, partitionerWatchMilliseconds: Int64,
    tokens: TokenRegistry, authenticator: TokenAuthenticator?, groups: GroupDirectory,
    groupOffsets: GroupOffsets, maximumUncommitted: Int64, fenceWaitMilliseconds: Int64, random: any RandomSource
  ) {
    self.identity = identity
    self.tenants = tenants
    self.limits = limits
    self.registry = registry
    self.partitions = partitions
    self.workers = workers
    self.producerIDs = producerIDs
    self.admin = admin
    self.metrics = metrics
    self.readBudget = readBudget
    self.health = health
    self.time = time
    self.logger = logger
    self.budget = budget
    self.logPath = logPath
    self.feed = feed
    self.drain = drain
    self.plugins = plugins
    self.partitioning = partitioning
    self.partitionerWatchMilliseconds = partitionerWatchMilliseconds
    self.tokens = tokens
    self.authenticator = authenticator
    self.groups = groups
    self.groupOffsets = groupOffsets
    self.maximumUncommitted = maximumUncommitted
    self.fenceWaitMilliseconds = fenceWaitMilliseconds
    self.random = random
  }
}

extension BrokerContext {
  /// A line of the broker's log for what somebody changed: who, what, to which values.
  func audit(_ what: Logger.Message, by principal: Principal, _ values: [String: String]) {
    var metadata: Logger.Metadata = values.mapValues { "\($0)" }
    metadata["tenant"] = "\(principal.tenant.rawValue)"
    metadata["principal"] = "\(principal.name)"
    logger.notice(what, metadata: metadata)
  }
}

/// Who this broker is.
package struct BrokerIdentity: Sendable {
  package var clusterID: String
  package var brokerID: Int32
  package var version: String
  package var startedMilliseconds: Int64
}

/// Limits in force, announced on every stream and by Cluster/Describe. Bytes unless stated.
package struct BrokerLimits: Sendable, Hashable {
  /// One gRPC message, either way.
  package var maxMessageBytes = 16 << 20
  /// Key, value and headers of one record.
  package var maxRecordBytes = 8 << 20
  /// Records in one unary Publish.
  package var maxRecordsPerPublish = 100_000
  /// Batches in flight from one producer to one partition (P7).
  package var maxInFlightBatches: Int { ProducerTable.window }
  /// Open calls on one connection.
  package var maxStreams = 1_000
  /// One Fetch answer unless the request says otherwise; and at most. Stock clients receive 4 MiB.
  package var defaultFetchBytes = 1 << 20
  package var maxFetchBytes = 15 << 20
  /// Partitions in one Fetch or Read.
  package var maxFetchPartitions = 1_000
  /// Milliseconds that a Fetch may wait.
  package var maxFetchWait: Int64 = 60_000

  package init() {}

  /// What a batch may hold, for a topic that accepts `maxBatchBytes`.
  func batchLimits(_ settings: TopicSettings) -> BatchLimits {
    var limits = BatchLimits()
    limits.maxBatchBytes = Int(settings.maxBatchBytes)
    limits.maxRecordBytes = maxRecordBytes
    return limits
  }
}
