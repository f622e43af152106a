import CommitLog
import NIOPosix
import OffsetStorage
import SkeinCore
import Wire

/// Gathering what health is judged by.
extension BrokerContext {
  /// Problems that one report names one by one.
  static let maximumNamedPartitions = 20
  /// Offline partitions that one answer lists.
  static let maximumOfflinePartitions = 1_000

  struct HealthFacts: Sendable {
    var report: HealthReport
    var directory: DirectoryCondition
    var offline: [OfflinePartition]
    var offlineCount: Int
  }

  /// Of what one tenant may know.
  func healthFacts(of tenant: TenantName) async throws -> HealthFacts {
    let directory = workers.directory
    let condition = try await workers.readPool.runIfActive { directory.condition() }
    let corrupt = directory.corruptPartitions
    var offline: [OfflinePartition] = []
    var count = 0
    if !corrupt.isEmpty {
      let topics = Dictionary(
        registry.all.filter { $0.tenant == tenant }.map { ($0.id, $0) }, uniquingKeysWith: { a, _ in a })
      for (key, why) in corrupt {
        guard let topic = topics[key.topic], key.partition < topic.partitions else { continue }
        count += 1
        guard offline.count < Self.maximumOfflinePartitions else { continue }
        let fault = Fault(.dataCorrupt, why).about(topic: topic.name, partition: key.partition)
        offline.append(OfflinePartition(topic: topic.name, partition: key.partition, error: fault.status))
      }
    }
    let unplaced = partitioning.placers.filter { $0.tenant == tenant }
      .compactMap { placer in
        (placer.problem ?? plugins.quarantine(of: placer.generation)).map { (topic: placer.name, fault: $0) }
      }
      .sorted { $0.topic < $1.topic }
    let groupFaults = await groups.facts().compactMap { fact in fact.fault.map { (fact.partition, $0) } }
    let report = HealthReport(
      HealthReport.Facts(
        phase: health.phase, directory: condition, memoryReserved: budget.reserved,
        memoryLimit: budget.limit,
        offline: offline.prefix(Self.maximumNamedPartitions).map {
          ("\($0.topic)/\($0.partition)", $0.error?.message ?? "")
        },
        offlineCount: count, authenticator: authenticator?.problem, stuckPlugin: plugins.runner.stuck,
        unplaced: Array(unplaced.prefix(Self.maximumNamedPartitions)), unplacedCount: unplaced.count,
        groupFaults: groupFaults,
        silentStores: groupOffsets.stores.all.compactMap { store in
          store.condition.problem.map { (name: store.name, fault: $0) }
        }))
    return HealthFacts(report: report, directory: condition, offline: offline, offlineCount: count)
  }

  /// Tells watchers how the broker is, if that changed.
  func refreshStatus() async {
    guard let facts = try? await healthFacts(of: .default) else { return }
    feed.set { status in
      status.phase = self.health.phase
      status.severity = facts.report.severity
      status.offlinePartitions = facts.offlineCount
    }
  }
}

extension ClusterHealthResponse {
  init(
    _ facts: BrokerContext.HealthFacts, _ context: BrokerContext, tenant: TenantName
  ) {
    let counts = context.registry.counts(of: tenant)
    self.init(
      status: HealthStatus(facts.report.severity), phase: BrokerPhase(context.health.phase),
      problems: facts.report.problems.map(HealthProblem.init),
      directories: [DirectoryHealth(facts.directory, path: context.logPath)],
      memoryReservedBytes: Int64(context.budget.reserved), memoryLimitBytes: Int64(context.budget.limit),
      topics: Int32(clamping: counts.topics), partitions: Int32(clamping: counts.partitions),
      offlinePartitionCount: Int32(clamping: facts.offlineCount), offlinePartitions: facts.offline,
      publishStreams: Int32(clamping: context.metrics.publishStreams.value),
      readStreams: Int32(clamping: context.metrics.readStreams.value),
      watchStreams: Int32(clamping: context.feed.watcherCount))
  }
}

extension HealthStatus {
  init(_ severity: HealthReport.Severity) {
    switch severity {
    case .ok: self = .ok
    case .degraded: self = .degraded
    case .failed: self = .failed
    }
  }
}

extension BrokerPhase {
  init(_ phase: HealthState.Phase) {
    switch phase {
    case .starting: self = .starting
    case .ready: self = .ready
    case .draining: self = .draining
    case .failed: self = .failed
    }
  }
}

extension HealthProblem {
  init(_ problem: HealthReport.Problem) {
    self.init(
      severity: HealthStatus(problem.severity), subject: problem.subject,
      reason: problem.reason?.name ?? "", what: problem.what, action: problem.action)
  }
}

extension DirectoryHealth {
  init(_ condition: DirectoryCondition, path: String) {
    var state = DirectoryState.online
    var fault: Fault?
    switch condition.state {
    case .online: break
    case .full:
      state = .full
      fault = Fault(
        .diskFull, "less than \(condition.reserveBytes) bytes are free",
        metadata: ["limit": String(condition.reserveBytes)])
    case .offline(let error):
      state = .offline
      fault = Fault(.logOffline, "\(error)")
    }
    self.init(
      path: path, state: state, error: fault?.status, diskTotalBytes: condition.space?.total ?? 0,
      diskFreeBytes: condition.space?.free ?? 0, diskReserveBytes: condition.reserveBytes,
      journalBytes: condition.journalBytes, journalUsedBytes: condition.journalUsedBytes,
      queuedBytes: Int64(condition.queuedBytes), queuedLimitBytes: Int64(condition.queuedLimit),
      unwrittenBytes: Int64(condition.unwrittenBytes), unwrittenLimitBytes: Int64(condition.unwrittenLimit),
      tailBytes: Int64(condition.tailBytes), tailLimitBytes: Int64(condition.tailLimit))
  }
}
