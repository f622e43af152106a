import GroupCoordination
import SkeinCore
import Wire

/// One group as operators see it.
extension GroupsService {
  @Sendable func describe(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DescribeGroupRequest(decoding: message)
    let key = try GroupsCheck.group(request.group, of: principal)
    let group: GroupDescription
    do throws(Fault) {
      guard case .description(let found) = try await context.groups.ask(.describe(key), of: key) else {
        throw Fault(.internalError, "the group coordinator did not describe the group")
      }
      group = found
    } catch {
      guard error.reason == .groupNotFound, context.groupOffsets.isRecorded(key) else { throw error }
      // Its coordinator has forgotten it; its offsets are in another store.
      return DescribeGroupResponse(
        summary: Wire.GroupSummary(
          group: key.name, phase: .empty, offsetStore: context.groupOffsets.storeName(of: key, inLog: 0)),
        partitions: await partitions(of: [], try await fetchAll(key), principal)
      ).encoded()
    }
    let offsets = try await fetchAll(key)
    var names: [TopicID: String] = [:]
    for topic in group.topics.topics { names[topic.id] = topic.name }
    return DescribeGroupResponse(
      summary: Wire.GroupSummary(
        group: key.name, phase: GroupPhase(group.phase), members: Int32(clamping: group.members.count),
        epoch: group.value.epoch,
        offsetStore: context.groupOffsets.storeName(of: key, inLog: group.offsets.count)),
      assignmentEpoch: group.value.assignmentEpoch, assignor: group.value.assignor,
      emptySinceMs: group.value.emptySince ?? 0,
      members: group.members.map { Wire.GroupMember($0, names) },
      partitions: await partitions(of: group.members, offsets, principal)
    ).encoded()
  }

  /// All offsets of a group, wherever they are.
  func fetchAll(_ key: GroupKey) async throws(Fault) -> [TopicPartition: CommittedOffset] {
    let loop = context.partitions.shards[0].loop
    let result = await withCheckedContinuation { continuation in
      context.groupOffsets.fetch(GroupCoordination.FetchOffsetsRequest(group: key), on: loop) {
        continuation.resume(returning: $0)
      }
    }
    return try result.get()
  }

  private func partitions(
    of members: [GroupDescription.Member], _ offsets: [TopicPartition: CommittedOffset],
    _ principal: Principal
  ) async -> [Wire.GroupPartition] {
    var owners: [TopicPartition: String] = [:]
    for member in members {
      for partition in member.assignment.assigned.keys { owners[partition] = member.id }
      for partition in member.assignment.revoking.keys { owners[partition] = member.id }
    }
    var positions: [TopicPartition: Offset?] = offsets.mapValues { $0.offset }
    for partition in owners.keys where positions[partition] == nil {
      positions.updateValue(nil, forKey: partition)
    }
    let items = await GroupLag(context: context).items(of: positions, tenant: principal.tenant)
    return items.map { item in
      let committed = offsets[item.key]
      return Wire.GroupPartition(
        lag: item.lag, memberID: owners[item.key] ?? "", metadata: committed?.metadata ?? "",
        committedMs: committed?.committedAt ?? 0, leaderEpoch: max(committed?.leaderEpoch ?? 0, 0),
        error: item.fault?.status)
    }
  }
}

extension Wire.GroupMember {
  init(_ member: GroupDescription.Member, _ names: [TopicID: String]) {
    let (profile, assignment) = (member.profile, member.assignment)
    self.init(
      memberID: member.id, instanceID: profile.instanceID ?? "", processID: profile.processID,
      client: profile.client, topics: profile.subscription.names, patterns: profile.subscription.patterns,
      labels: profile.labels, epoch: assignment.epoch,
      assigned: TopicPartitions.list(assignment.assigned.keys, names),
      revoking: TopicPartitions.list(assignment.revoking.keys, names),
      target: TopicPartitions.list(assignment.target, names), connected: member.isConnected,
      silentMs: member.silentFor ?? -1, processingMs: profile.processing)
  }
}

extension TopicPartitions {
  /// By topic, in the order of names and numbers.
  /// - Parameter names: of the topics; one that is not there is called by its id.
  static func list(
    _ partitions: some Sequence<TopicPartition>, _ names: [TopicID: String]
  ) -> [TopicPartitions] {
    var byTopic: [TopicID: [Int32]] = [:]
    for partition in partitions { byTopic[partition.topic, default: []].append(partition.partition) }
    return byTopic.map { id, numbers in
      TopicPartitions(
        topic: names[id] ?? id.description, partitions: numbers.sorted(), topicID: id.description)
    }.sorted { $0.topic < $1.topic }
  }
}
