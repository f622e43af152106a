import SkeinCore
import Wire

extension Admin {
  /// The cluster, its limits, and who the caller is to it.
  public func describeCluster() async throws(SkeinError) -> ClusterDescription {
    let reply = try await client.unary(
      ClusterMethod.describe, DescribeClusterRequest(), DescribeClusterResponse.self)
    return ClusterDescription(
      clusterID: reply.clusterID,
      brokers: reply.brokers.map {
        BrokerDescription(id: $0.brokerID, address: $0.address, version: $0.version, started: $0.startedMs)
      },
      limits: reply.limits.map(BrokerLimits.init), tenant: reply.tenant, principal: reply.principal)
  }

  /// How the broker is: what is refused or near a limit, and what to do about it. Answers also while it drains or
  /// after its disk failed.
  public func health() async throws(SkeinError) -> ClusterHealth {
    ClusterHealth(
      try await client.unary(ClusterMethod.health, ClusterHealthRequest(), ClusterHealthResponse.self))
  }

  /// Follows topics, partition counts, generations and health; see `ClusterWatch`.
  public func watch() -> ClusterWatch { ClusterWatch(client) }

  /// Begins the graceful stop of a broker, as SIGTERM does; there is no way back but a new start.
  /// - Parameters:
  ///   - broker: its id, from `describeCluster`: a guard against draining the wrong one.
  ///   - reason: for the broker's log.
  /// - Throws: INVALID_REQUEST when it is another broker; nothing was begun.
  @discardableResult
  public func drain(broker: Int32, reason: String = "") async throws(SkeinError) -> DrainProgress {
    let reply = try await client.unary(
      ClusterMethod.drain, DrainBrokerRequest(brokerID: broker, reason: reason), DrainBrokerResponse.self)
    return DrainProgress(
      openStreams: Int(reply.openStreams), deadline: .milliseconds(max(0, reply.deadlineMs)),
      hadBegun: reply.alreadyDraining)
  }

  /// Gives up what corrupt partitions have lost, so that they are served again. **Loses data for good**: restore
  /// the files from a backup instead, where there is one.
  /// - Parameter dryRun: says what is damaged and changes nothing.
  /// - Returns: one result a partition, each with its own error.
  /// - Throws: TOPIC_NOT_FOUND, INVALID_REQUEST.
  public func acceptLoss(
    _ topic: String, partitions: [Int32], dryRun: Bool
  ) async throws(SkeinError) -> [LossResult] {
    let reply = try await client.unary(
      ClusterMethod.acceptLoss, AcceptLossRequest(topic: topic, partitions: partitions, dryRun: dryRun),
      AcceptLossResponse.self)
    return reply.partitions.map {
      LossResult(
        partition: $0.partition, damage: $0.damage, logStart: $0.logStartOffset, logEnd: $0.logEndOffset,
        sizeBefore: $0.sizeBytesBefore, size: $0.sizeBytes, isOnline: $0.state == .online,
        error: $0.error.map { SkeinError(Fault($0)) })
    }
  }
}
