import CommitLog
import Logging
import SkeinCore
import Transport
import Wire

/// `skein.v1.Cluster`.
struct ClusterService: Sendable {
  /// Methods that answer in every phase of the broker: who asks how it is must not be turned away.
  static let always: Set<String> = ["Describe", "Health", "Drain"]

  let context: BrokerContext

  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "Describe": context.admin.unary(call, principal, describe)
    case "Health": context.admin.unary(call, principal, health)
    case "Watch": ClusterWatchHandler(call: call, context: context, principal: principal)
    case "Drain": context.admin.unary(call, principal, drain)
    case "AcceptLoss": context.admin.unary(call, principal, acceptLoss)
    default: nil
    }
  }

  @Sendable private func describe(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    _ = try DescribeClusterRequest(decoding: message)
    let broker = BrokerDescription(
      brokerID: context.identity.brokerID, address: context.health.address,
      version: context.identity.version, startedMs: context.identity.startedMilliseconds)
    return DescribeClusterResponse(
      clusterID: context.identity.clusterID, brokers: [broker],
      limits: Limits(context.limits), tenant: principal.tenant.rawValue,
      principal: principal.name, nowMs: context.time.wallMilliseconds
    ).encoded()
  }

  @Sendable private func health(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    _ = try ClusterHealthRequest(decoding: message)
    let facts = try await context.healthFacts(of: principal.tenant)
    return ClusterHealthResponse(facts, context, tenant: principal.tenant).encoded()
  }

  // MARK: Draining

  @Sendable private func drain(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DrainBrokerRequest(decoding: message)
    guard request.brokerID == context.identity.brokerID else {
      throw Fault(
        .invalidRequest,
        "this is broker \(context.identity.brokerID), not \(request.brokerID); nothing was begun; look with Cluster/Describe",
        metadata: ["broker_id": String(context.identity.brokerID)],
        violations: [.init(field: "broker_id", description: "not this broker's id")])
    }
    let open = context.streams.count
    let isFirst = context.drain.begin()
    if isFirst {
      context.audit(
        "drain ordered", by: principal,
        ["reason": String(request.reason.displayable.prefix(500)), "open_streams": "\(open)"])
    }
    return DrainBrokerResponse(
      openStreams: Int32(clamping: open), deadlineMs: context.drain.deadlineMilliseconds,
      alreadyDraining: !isFirst
    ).encoded()
  }

  // MARK: Accepting a loss

  static let maximumPartitions = 1_000

  @Sendable private func acceptLoss(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try AcceptLossRequest(decoding: message)
    let topic = try context.registry.topic(request.topic, of: principal.tenant)
    guard (1...Self.maximumPartitions).contains(request.partitions.count),
      Set(request.partitions).count == request.partitions.count
    else {
      throw Fault(
        .invalidRequest,
        "name 1 to \(Self.maximumPartitions) partitions, each once; nothing was given up",
        metadata: ["topic": topic.name],
        violations: [
          .init(field: "partitions", description: "1 to \(Self.maximumPartitions), each once")
        ])
    }
    let directory = context.workers.directory
    if case .offline(let error) = directory.state { throw error.fault }
    var results: [AcceptLossResult] = []
    var accepted: [TopicPartition] = []
    for partition in request.partitions {
      var result = AcceptLossResult(partition: partition)
      do throws(Fault) {
        try TopicRegistry.check(partition, of: topic)
        let key = TopicPartition(topic: topic.id, partition: partition)
        guard let damage = directory.partition(key)?.corruption else {
          throw Fault(
            .partitionOnline,
            "partition \(partition) of topic \"\(topic.name)\" is served; there is nothing to give up"
          )
        }
        result.damage = damage
        if !request.dryRun, directory.acceptLoss(key) { accepted.append(key) }
      } catch {
        result.error = error.about(topic: topic.name, partition: partition).status
      }
      results.append(result)
    }
    if !accepted.isEmpty {
      context.audit(
        "POSSIBLE DATA LOSS accepted", by: principal,
        [
          "topic": topic.name,
          "partitions": accepted.map { "\($0.partition)" }.joined(separator: " "),
        ])
    }
    let before = try await sizes(of: topic, results)
    try await context.workers.salvage(accepted)
    let after = try await sizes(of: topic, results)
    for index in results.indices where results[index].error == nil {
      results[index].sizeBytesBefore = before[results[index].partition]?.sizeBytes ?? 0
      guard let now = after[results[index].partition] else { continue }
      results[index].sizeBytes = now.sizeBytes
      results[index].logStartOffset = now.logStart.rawValue
      results[index].logEndOffset = now.logEnd.rawValue
      results[index].state = now.fault == nil ? .online : .offline
    }
    await context.refreshStatus()
    return AcceptLossResponse(partitions: results).encoded()
  }

  private func sizes(
    of topic: Topic, _ results: [AcceptLossResult]
  ) async throws -> [Int32: PartitionFacts] {
    let numbers = results.filter { $0.error == nil }.map(\.partition)
    let facts = try await context.partitionStates(of: topic, numbers)
    return Dictionary(uniqueKeysWithValues: facts.map { ($0.partition, $0) })
  }
}
