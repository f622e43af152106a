import CommitLog
import GroupCoordination
import NIOCore
import SkeinCore
import Wire

/// Where a partition begins: where its member stands, else where the group stands, else as the member wants it (G18:
/// never anywhere else).
extension SubscribeHandler {
  /// Between two questions to a store that does not answer.
  static let startPause = TimeAmount.seconds(1)

  func start(_ begun: [MemberPartition]) {
    guard let membership, !begun.isEmpty else { return }
    for from in stride(from: 0, to: begun.count, by: GroupLimits.offsetsPerRequest) {
      let part = Array(begun[from..<min(from + GroupLimits.offsetsPerRequest, begun.count)])
      for partition in part { partition.isFetching = true }
      let asked = epoch
      let request = GroupCoordination.FetchOffsetsRequest(
        group: membership.key, member: (membership.id, asked), partitions: part.map(\.key))
      context.groupOffsets.fetch(request, on: eventLoop) { result in self.fetched(part, result, epoch: asked)
      }
    }
  }

  private func fetched(
    _ part: [MemberPartition], _ result: Result<[TopicPartition: CommittedOffset], Fault>, epoch asked: Int32
  ) {
    if case .closed = phase { return }
    for partition in part { partition.isFetching = false }
    let part = part.filter { partitions[$0.key] === $0 && $0.acks == nil }
    switch result {
    case .success(let found):
      for partition in part {
        if let committed = found[partition.key] {
          begin(partition, at: committed)
        } else {
          beginWithoutCommit(partition)
        }
      }
      flushAcks()
      pump?.pump()
    case .failure(let fault) where fault.reason == .staleMemberEpoch && asked < epoch:
      // The membership has gone on meanwhile.
      start(part)
    case .failure(let fault) where fault.reason.isTroubleOfStore:
      for partition in part { startLater(partition, because: fault) }
    case .failure(let fault): end(with: fault)
    }
  }

  private func begin(_ partition: MemberPartition, at committed: CommittedOffset) {
    partition.committed = committed.offset
    count(acksOf: partition, from: committed.offset)
    guard partition.phase == .starting else { return }
    if let position = partition.resumeAt { return run(partition, from: position) }
    run(
      partition, from: committed.offset,
      lastEpoch: committed.leaderEpoch > 0 ? LeaderEpoch(committed.leaderEpoch) : nil)
  }

  private func beginWithoutCommit(_ partition: MemberPartition) {
    guard partition.resumeAt != nil || membership?.reset != OffsetReset.none else {
      partition.acks = AckTracker(processed: 0, unknownBelow: Offset.limit.rawValue)
      guard partition.phase == .starting else { return }
      return failed(
        partition.cursor,
        Fault(
          .noCommittedOffset,
          "the group has committed nothing of topic \"\(partition.topicName)\" partition \(partition.key.partition), and the member joined with reset none; seek, or reset the group's offsets",
          metadata: ["topic": partition.topicName, "partition": "\(partition.key.partition)"]))
    }
    context.partitions.shard(of: partition.key).onLoop { shard in
      let log = shard.log(partition.key)
      let bounds = log.map { (start: $0.logStart, end: $0.highWatermark) }
      self.eventLoop.execute { self.found(partition, bounds) }
    }
  }

  private func found(_ partition: MemberPartition, _ bounds: (start: Offset, end: Offset)?) {
    guard partitions[partition.key] === partition, partition.acks == nil else { return }
    guard let bounds else { return failed(partition.cursor, PartitionShard.gone(partition.key)) }
    if partition.resumeAt == nil, partition.phase == .starting, membership?.reset == .latest {
      return commitEnd(bounds.end, of: partition)
    }
    count(acksOf: partition, from: bounds.start)
    if partition.phase == .starting { run(partition, from: partition.resumeAt ?? bounds.start) }
    pump?.pump()
  }

  /// "Latest" is decided once: by the commit. Whoever has the partition later begins there.
  private func commitEnd(_ end: Offset, of partition: MemberPartition) {
    guard let membership else { return }
    let wanted = PartitionOffset(
      topic: partition.topicName, partition: partition.key.partition, offset: end.rawValue)
    let commit: OffsetCommit
    switch GroupsCheck(context: context).checked([wanted], principal).first {
    case .success(let checked)?: commit = checked
    case .failure(let fault)?: return failed(partition.cursor, fault)
    case nil: return
    }
    commitsInFlight += 1
    let request = GroupCoordination.CommitRequest(
      group: membership.key, member: (membership.id, epoch), offsets: [commit])
    context.groupOffsets.commit(request, on: eventLoop) { result in
      self.commitsInFlight -= 1
      if case .closed = self.phase { return }
      if self.partitions[partition.key] === partition { self.committedEnd(end, of: partition, result) }
      self.settle()
    }
  }

  private func committedEnd(
    _ end: Offset, of partition: MemberPartition, _ result: Result<[Fault?], Fault>
  ) {
    let fault: Fault?
    switch result {
    case .success(let results): fault = results.first ?? nil
    case .failure(let whole): fault = whole
    }
    guard let fault else {
      partition.committed = end
      count(acksOf: partition, from: end)
      if partition.phase == .starting { run(partition, from: end) }
      pump?.pump()
      return
    }
    switch fault.reason {
    case .commitBehind: start([partition])  // decided by another, a moment ago
    case .unknownMember, .notCoordinator, .coordinatorLoading: self.end(with: fault)
    default: startLater(partition, because: fault)
    }
  }

  /// Acknowledgements count from here on. What was sent before that was known was not looked at for holes.
  private func count(acksOf partition: MemberPartition, from offset: Offset) {
    guard partition.acks == nil else { return }
    let hasRun = partition.phase != .starting
    partition.acks = AckTracker(
      processed: offset.rawValue, unknownBelow: hasRun ? partition.cursor.offset.rawValue : 0)
  }

  func run(_ partition: MemberPartition, from offset: Offset, lastEpoch: LeaderEpoch? = nil) {
    partition.phase = .running
    partition.began = offset
    pump?.seek(partition.cursor, to: offset, lastEpoch: lastEpoch, held: partition.isHeld)
  }

  // MARK: A store that does not answer

  /// The member hears of it once. Whoever knows where it stands goes on; the others wait.
  private func startLater(_ partition: MemberPartition, because fault: Fault) {
    if !partition.isTroubleTold {
      partition.isTroubleTold = true
      report(fault, of: partition)
    }
    if partition.phase == .starting, let position = partition.resumeAt { run(partition, from: position) }
    pump?.pump()
    guard startRetry == nil else { return }
    startRetry = eventLoop.scheduleTask(in: Self.startPause) { [weak self] in
      guard let self else { return }
      startRetry = nil
      start(partitions.values.filter { $0.acks == nil && !$0.isFetching }.sorted { $0.key < $1.key })
    }
  }
}

extension Reason {
  /// It may work a little later: the store of a group's offsets does not answer, has too much to do, or no room.
  var isTroubleOfStore: Bool {
    self == .offsetStoreUnavailable || self == .overloaded || self == .offsetsMoving || self == .diskFull
  }
}
