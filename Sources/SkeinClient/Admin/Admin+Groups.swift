import SkeinCore
import Wire

/// Consumer groups, for those who look after them; members use `Consumer`.
extension Admin {
  /// The tenant's groups in the order of their names.
  /// - Parameter prefix: only names that begin so.
  public func listGroups(prefix: String = "") async throws(SkeinError) -> [GroupSummary] {
    var groups: [GroupSummary] = []
    var token = ""
    repeat {
      let page = try await client.unary(
        GroupsMethod.list, ListGroupsRequest(pageSize: 1_000, pageToken: token, prefix: prefix),
        ListGroupsResponse.self)
      groups += page.groups.map(GroupSummary.init)
      token = page.nextPageToken
    } while !token.isEmpty
    return groups
  }

  /// Members, partitions, committed offsets, and lag in records and time.
  /// - Throws: GROUP_NOT_FOUND, COORDINATOR_LOADING, OFFSET_STORE_UNAVAILABLE.
  public func describeGroup(_ name: String) async throws(SkeinError) -> GroupDescription {
    GroupDescription(
      try await client.unary(
        GroupsMethod.describe, DescribeGroupRequest(group: name), DescribeGroupResponse.self))
  }

  /// Commits offsets of a group without members, for an application that assigns its partitions itself. A member
  /// commits through its `Consumer`.
  /// - Returns: one result an offset, in order.
  /// - Throws: GROUP_HAS_MEMBERS, INVALID_REQUEST, OFFSETS_MOVING, OFFSET_STORE_UNAVAILABLE; each offset's own error
  ///   (OFFSET_OUT_OF_RANGE, TOPIC_NOT_FOUND, COMMIT_BEHIND …) stands in its result.
  public func commitOffsets(
    group: String, _ offsets: [GroupOffset]
  ) async throws(SkeinError) -> [GroupCommitResult] {
    let reply = try await client.unary(
      GroupsMethod.commit,
      CommitRequest(group: group, offsets: offsets.map(Wire.PartitionOffset.init)), CommitResponse.self)
    // An answer that says nothing of an offset is not one that it was committed.
    guard reply.results.count == offsets.count else {
      throw SkeinError(
        .internalError, "the broker answered \(offsets.count) offsets with \(reply.results.count) results",
        outcome: .unknown)
    }
    return zip(offsets, reply.results).map { offset, result in
      GroupCommitResult(
        topic: offset.topic, partition: offset.partition, error: SkeinError(partition: result))
    }
  }

  /// Where a group stands; partitions of which nothing was committed are missing.
  /// - Parameter partitions: empty is all.
  /// - Throws: GROUP_NOT_FOUND, OFFSET_STORE_UNAVAILABLE.
  public func fetchOffsets(
    group: String, _ partitions: [TopicPartitionList] = []
  ) async throws(SkeinError) -> [GroupOffset] {
    try await client.unary(
      GroupsMethod.fetchOffsets,
      FetchOffsetsRequest(
        group: group,
        partitions: partitions.map {
          TopicPartitions(topic: $0.topic, partitions: $0.partitions, topicID: $0.topicID)
        }), FetchOffsetsResponse.self
    ).offsets.map {
      GroupOffset(
        topic: $0.topic, partition: $0.partition, offset: $0.offset, metadata: $0.metadata,
        leaderEpoch: $0.leaderEpoch)
    }
  }

  /// Sets where a group without members goes on, forward or back.
  /// - Parameters:
  ///   - partitions: empty is all of the topic.
  ///   - dryRun: says what would be set, and sets nothing.
  /// - Throws: GROUP_HAS_MEMBERS, GROUP_NOT_FOUND, TOPIC_NOT_FOUND, PARTITION_NOT_FOUND, OFFSET_OUT_OF_RANGE,
  ///   INVALID_REQUEST.
  @discardableResult
  public func resetOffsets(
    group: String, topic: String, partitions: [Int32] = [], to place: OffsetPlace, dryRun: Bool = false
  ) async throws(SkeinError) -> [OffsetChange] {
    try await client.unary(
      GroupsMethod.resetOffsets,
      ResetOffsetsRequest(
        group: group, topic: topic, partitions: partitions, place: place.wire, dryRun: dryRun),
      ResetOffsetsResponse.self
    ).changes.map {
      OffsetChange(
        topic: $0.topic, partition: $0.partition, before: $0.before < 0 ? nil : $0.before, after: $0.after,
        lag: $0.lag)
    }
  }

  /// Deletes a group without members and all its offsets; with `topic` only its offsets of that topic. Not undoable.
  /// - Returns: how many committed offsets were removed.
  /// - Throws: GROUP_NOT_FOUND, GROUP_HAS_MEMBERS.
  @discardableResult
  public func deleteGroup(_ name: String, topic: String? = nil) async throws(SkeinError) -> Int64 {
    try await client.unary(
      GroupsMethod.delete, DeleteGroupRequest(group: name, topic: topic ?? ""), DeleteGroupResponse.self
    ).offsets
  }
}

// MARK: From and to the wire

extension GroupState {
  init(_ wire: GroupPhase) {
    switch wire {
    case .empty: self = .empty
    case .reconciling: self = .reconciling
    case .stable: self = .stable
    default: self = .unknown
    }
  }
}

extension GroupSummary {
  init(_ wire: Wire.GroupSummary) {
    self.init(
      name: wire.group, state: GroupState(wire.phase), memberCount: Int(wire.members), epoch: wire.epoch,
      offsetStore: wire.offsetStore)
  }
}

extension TopicPartitionList {
  init(_ wire: TopicPartitions) {
    self.init(topic: wire.topic, partitions: wire.partitions, topicID: wire.topicID)
  }
}

extension GroupMemberDescription {
  init(_ wire: GroupMember) {
    self.init(
      id: wire.memberID, instanceID: wire.instanceID, processID: wire.processID, client: wire.client,
      topics: wire.topics, patterns: wire.patterns, labels: wire.labels, epoch: wire.epoch,
      assigned: wire.assigned.map(TopicPartitionList.init),
      revoking: wire.revoking.map(TopicPartitionList.init),
      target: wire.target.map(TopicPartitionList.init), isConnected: wire.connected,
      silence: wire.silentMs < 0 ? nil : .milliseconds(wire.silentMs),
      processingLimit: .milliseconds(max(0, wire.processingMs)))
  }
}

extension GroupPartitionDescription {
  init(_ wire: GroupPartition) {
    let lag = wire.lag ?? PartitionLag(committedOffset: -1)
    self.init(
      topic: lag.topic, partition: lag.partition,
      committed: lag.committedOffset < 0 ? nil : lag.committedOffset, highWatermark: lag.highWatermark,
      lag: lag.records, lagTime: .milliseconds(max(0, lag.milliseconds)),
      memberID: wire.memberID.isEmpty ? nil : wire.memberID, metadata: wire.metadata,
      committedAt: wire.committedMs > 0 ? wire.committedMs : nil, leaderEpoch: wire.leaderEpoch,
      error: wire.error.map { SkeinError(Fault($0)) })
  }
}

extension GroupDescription {
  init(_ wire: DescribeGroupResponse) {
    self.init(
      group: GroupSummary(wire.summary ?? Wire.GroupSummary()), assignmentEpoch: wire.assignmentEpoch,
      assignor: wire.assignor, emptySince: wire.emptySinceMs > 0 ? wire.emptySinceMs : nil,
      members: wire.members.map(GroupMemberDescription.init),
      partitions: wire.partitions.map(GroupPartitionDescription.init))
  }
}

extension Wire.PartitionOffset {
  init(_ offset: GroupOffset) {
    self.init(
      topic: offset.topic, partition: offset.partition, offset: offset.offset, metadata: offset.metadata,
      leaderEpoch: offset.leaderEpoch)
  }
}

extension OffsetPlace {
  var wire: ResetOffsetsRequest.Place {
    switch self {
    case .earliest: .earliest(true)
    case .latest: .latest(true)
    case .offset(let offset): .offset(offset)
    case .timestamp(let milliseconds): .timeMs(milliseconds)
    case .shift(let count): .shift(count)
    }
  }
}

extension SkeinError {
  /// nil where the result says that all went well: no error, or one with code 0.
  fileprivate init?(partition result: PartitionError) {
    guard let status = result.error, status.code != 0 else { return nil }
    self.init(Fault(status))
  }
}
