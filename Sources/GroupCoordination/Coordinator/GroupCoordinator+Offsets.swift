internal import SkeinCore

/// Committed offsets: commit, fetch, reset, delete, expiry (G15-G18, G21).
///
/// That an offset lies inside its log (G18) is for the edge to check: the log is not known here.
extension GroupCoordinator {
  // MARK: Commit

  /// - Parameter storing: whether the offsets are kept here; else they are only judged.
  mutating func commit(
    _ request: CommitRequest, storing: Bool, _ turn: inout Turn
  ) throws(Fault) -> GroupReply {
    let key = request.group
    try checkCount(request.offsets.count, "offsets")
    try checkMetadata(request.offsets)
    let assignment: MemberAssignment?
    if let (id, epoch) = request.member {
      if configuration.breakages.contains(.commitInAnyEpoch), let known = table.groups[key]?.members[id] {
        assignment = known.assignment
      } else {
        assignment = try member(id, in: key, epoch: epoch).assignment
      }
    } else {
      assignment = nil
      try checkNoMembers(key)
    }
    var results: [Fault?] = []
    for offset in request.offsets {
      do throws(Fault) {
        if let assignment, let (_, epoch) = request.member {
          try check(offset.partition, in: assignment, epoch: epoch, key)
        }
        if storing {
          try store(offset, in: key, &turn)
        } else {
          try check(offset)
          if assignment == nil { try createForOffsets(key, &turn) }
        }
        results.append(nil)
      } catch {
        results.append(error)
      }
    }
    return .committed(results)
  }

  /// Who commits must have the partition, and must have known it when it sent this (G15).
  private func check(
    _ partition: TopicPartition, in assignment: MemberAssignment, epoch: Int32, _ key: GroupKey
  ) throws(Fault) {
    let breakages = configuration.breakages
    if breakages.contains(.commitOfAnything) { return }
    let isGivenBack = assignment.revoking[partition] != nil && breakages.contains(.noCommitWhileRevoking)
    guard let granted = assignment.grantEpoch(partition), !isGivenBack else {
      throw Fault(
        .notAssigned,
        "the partition \(partition) is not assigned to the member; commit before it is given back",
        metadata: [
          "group": key.name, "topic_id": "\(partition.topic)", "partition": "\(partition.partition)",
        ])
    }
    if epoch < granted, !breakages.contains(.commitInAnyEpoch) {
      throw stale(epoch, granted...max(granted, assignment.epoch), key)
    }
  }

  private mutating func store(_ commit: OffsetCommit, in key: GroupKey, _ turn: inout Turn) throws(Fault) {
    try check(commit)
    let known = table.groups[key]?.offsets[commit.partition]
    if let known {
      if commit.offset < known.offset, !configuration.breakages.contains(.commitGoesBack) {
        throw Fault(
          .commitBehind,
          "the group has committed \(known.offset) of \(commit.partition) already and does not go back to \(commit.offset); reset its offsets to read again",
          metadata: ["group": key.name, "committed": "\(known.offset)", "offset": "\(commit.offset)"])
      }
      // The same again is a retry: it costs nothing, but its answer waits for the first.
      if commit.offset == known.offset, commit.metadata == known.metadata,
        commit.leaderEpoch == known.leaderEpoch
      {
        return
      }
    } else if let count = table.groups[key]?.offsets.count, count >= limits.offsets {
      throw limit("committed offsets", count, limits.offsets, key)
    }
    try createForOffsets(key, &turn)
    write(commit, in: key, &turn)
  }

  private mutating func write(_ commit: OffsetCommit, in key: GroupKey, _ turn: inout Turn) {
    let value = CommittedOffset(
      offset: commit.offset, leaderEpoch: commit.leaderEpoch, metadata: commit.metadata,
      committedAt: turn.now.wall)
    propose(.offset(key, commit.partition, value), &turn)
  }

  private func check(_ commit: OffsetCommit) throws(Fault) {
    guard commit.offset >= .zero, commit.offset < .limit else {
      throw Fault(
        .invalidRequest, "the offset \(commit.offset) is not one",
        violations: [.init(field: "offset", description: "must be at least 0 and below \(Offset.limit)")])
    }
    let size = commit.metadata.utf8.count
    guard size <= GroupLimits.metadataBytes else {
      throw Fault(
        .invalidRequest, "the metadata of the offset has \(size) bytes",
        violations: [.init(field: "metadata", description: "has at most \(GroupLimits.metadataBytes) bytes")])
    }
    guard commit.partition.partition >= 0 else {
      throw Fault(
        .invalidRequest, "the partition \(commit.partition.partition) is not one",
        violations: [.init(field: "partition", description: "must be at least 0")])
    }
  }

  private func checkCount(_ count: Int, _ field: String) throws(Fault) {
    guard count > GroupLimits.offsetsPerRequest else { return }
    throw Fault(
      .invalidRequest, "the request has \(count) \(field)",
      violations: [.init(field: field, description: "at most \(GroupLimits.offsetsPerRequest) at once")])
  }

  private func checkMetadata(_ offsets: [OffsetCommit]) throws(Fault) {
    let bytes = offsets.reduce(0) { $0 + $1.metadata.utf8.count }
    guard bytes > GroupLimits.metadataBytesPerRequest else { return }
    throw Fault(
      .invalidRequest, "the metadata of the offsets has \(bytes) bytes",
      violations: [
        .init(
          field: "metadata",
          description: "has at most \(GroupLimits.metadataBytesPerRequest) bytes in one request")
      ])
  }

  private func checkNoMembers(_ key: GroupKey) throws(Fault) {
    guard let count = table.groups[key]?.members.count, count > 0 else { return }
    throw Fault(
      .groupHasMembers,
      "the group \(key.name.displayable) has \(count) member(s), which would not notice; stop them first",
      metadata: ["group": key.name, "members": "\(count)"])
  }

  /// A group that somebody commits to without ever joining.
  private mutating func createForOffsets(_ key: GroupKey, _ turn: inout Turn) throws(Fault) {
    guard table.groups[key] == nil else { return }
    guard !key.name.isEmpty, key.name.utf8.count <= GroupLimits.nameBytes else {
      throw Fault(
        .invalidRequest, "the group's name has \(key.name.utf8.count) bytes",
        violations: [.init(field: "group", description: "has 1 to \(GroupLimits.nameBytes) bytes")])
    }
    try checkRoomForGroup(key)
    raise(key, &turn)
    guard var value = table.groups[key]?.value else { return }
    value.emptySince = turn.now.wall
    propose(.group(key, value), &turn)
  }

  // MARK: Fetch

  func fetchOffsets(_ request: FetchOffsetsRequest) throws(Fault) -> GroupReply {
    guard let group = table.groups[request.group] else { throw notFound(request.group) }
    if let (id, epoch) = request.member { _ = try member(id, in: request.group, epoch: epoch) }
    guard let partitions = request.partitions else { return .offsets(group.offsets) }
    try checkCount(partitions.count, "partitions")
    var found: [TopicPartition: CommittedOffset] = [:]
    for partition in partitions { found[partition] = group.offsets[partition] }
    return .offsets(found)
  }

  // MARK: Reset, delete

  mutating func reset(
    _ key: GroupKey, _ offsets: [OffsetCommit], _ dryRun: Bool, _ turn: inout Turn
  ) throws(Fault) -> GroupReply {
    try checkCount(offsets.count, "offsets")
    try checkMetadata(offsets)
    try checkNoMembers(key)
    for offset in offsets { try check(offset) }
    let known = table.groups[key]?.offsets ?? [:]
    let count = known.count + Set(offsets.map(\.partition)).count { known[$0] == nil }
    if count > limits.offsets { throw limit("committed offsets", count, limits.offsets, key) }
    if !dryRun, !offsets.isEmpty { try createForOffsets(key, &turn) }
    var changes: [(partition: TopicPartition, before: Offset?, after: Offset)] = []
    for offset in offsets {
      changes.append((offset.partition, known[offset.partition]?.offset, offset.offset))
      if !dryRun { write(offset, in: key, &turn) }
    }
    return .reset(changes)
  }

  mutating func deleteOffsets(
    _ key: GroupKey, _ partitions: [TopicPartition], _ turn: inout Turn
  ) throws(Fault) -> GroupReply {
    guard let group = table.groups[key] else { throw notFound(key) }
    try checkCount(partitions.count, "partitions")
    try checkNoMembers(key)
    let found = Set(partitions).filter { group.offsets[$0] != nil }.sorted()
    for partition in found { propose(.offset(key, partition, nil), &turn) }
    return .deleted(offsets: found.count)
  }

  mutating func deleteGroup(_ key: GroupKey, _ turn: inout Turn) throws(Fault) -> GroupReply {
    guard let group = table.groups[key] else { throw notFound(key) }
    try checkNoMembers(key)
    bury(key, group, &turn)
    return .deleted(offsets: group.offsets.count)
  }

  mutating func deleteOffsets(of topic: TopicID, _ turn: inout Turn) {
    for (key, group) in table.groups.sorted(by: { $0.key < $1.key }) {
      for partition in group.offsets.keys.sorted() where partition.topic == topic {
        guard turn.records.count < GroupLimits.expiredPerRound else { return }
        propose(.offset(key, partition, nil), &turn)
      }
    }
  }

  /// Tombstones for everything, and the floor under the epochs of whoever comes next under this name.
  private mutating func bury(_ key: GroupKey, _ group: GroupState, _ turn: inout Turn) {
    for partition in group.offsets.keys.sorted() { propose(.offset(key, partition, nil), &turn) }
    if group.value.epoch > table.epochFloor { propose(.epochFloor(group.value.epoch), &turn) }
    propose(.topics(key, nil), &turn)
    propose(.group(key, nil), &turn)
    runtime[key] = nil
  }

  // MARK: Expiry

  /// Offsets of groups that have been empty for the retention time; a group without any goes with them.
  mutating func expireOffsets(_ turn: inout Turn) {
    let before = turn.now.wall - times.offsetRetention
    for (key, group) in table.groups.sorted(by: { $0.key < $1.key }) {
      guard turn.records.count < GroupLimits.expiredPerRound else { return }
      if configuration.breakages.contains(.expireActive) {
        for (partition, offset) in group.offsets where offset.committedAt <= before {
          propose(.offset(key, partition, nil), &turn)
        }
        continue
      }
      guard group.members.isEmpty, let since = group.value.emptySince, since <= before else { continue }
      let expired = group.offsets.filter { $0.value.committedAt <= before }
      if expired.count == group.offsets.count, expired.count <= GroupLimits.expiredPerRound {
        bury(key, group, &turn)
      } else {
        for partition in expired.keys.sorted().prefix(GroupLimits.expiredPerRound) {
          propose(.offset(key, partition, nil), &turn)
        }
      }
    }
  }
}
