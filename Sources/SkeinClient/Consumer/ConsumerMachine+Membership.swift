import SkeinCore
import Wire

/// Joining, assignments, heartbeats.
extension ConsumerMachine {
  // MARK: Streams

  /// A stream begins: joins, or goes on with the membership that there is.
  mutating func opened(now: Int64) {
    guard phase != .over, phase != .leaving else { return }
    isConnected = true
    isSettled = false
    isDraining = false
    openedAt = now
    seeks = [:]
    for at in slots.indices {
      slots[at]?.seek = 0
      slots[at]?.needsSeek = false
    }
    var join = SubscribeJoin(
      group: options.group, instanceID: options.instanceID, processID: options.processID,
      clientID: options.clientID, topics: topics, patterns: patterns, labels: options.labels,
      assignor: options.assignor, processingMs: options.processingMilliseconds,
      reset: Self.wire(options.start),
      maxMessageBytes: UInt32(clamping: options.maxMessageBytes))
    if phase == .member {
      join.resume = SubscribeResume(epoch: epoch, positions: resumePositions)
    } else {
      // A retry of the same join keeps its id (rule 6).
      if phase == .out { memberID = Self.newID(random) }
      phase = .joining
      subscriptionChanged = false
    }
    join.memberID = memberID
    effects.append(.send(SubscribeRequest(join: join, credit: Self.wire(credit.opened()))))
  }

  private var resumePositions: [Wire.PartitionOffset] {
    slots.compactMap { $0 }.map {
      Wire.PartitionOffset(
        topic: $0.partition.topic, partition: $0.partition.partition, offset: $0.received?.offset ?? -1,
        leaderEpoch: $0.received?.leaderEpoch ?? 0)
    }
  }

  static func newID(_ random: any RandomSource) -> String {
    [random.next(), random.next()].map { word in
      let digits = String(word, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }

  static func wire(_ start: GroupStart) -> OffsetReset {
    switch start {
    case .earliest: .earliest
    case .latest: .latest
    case .none: .none
    }
  }

  /// Anything came on the stream. Returns whether it is worth reading: not if the session was over before.
  mutating func heard(now: Int64) -> Bool {
    guard !expireIfSilent(now: now), isConnected else { return false }
    heardAt = now
    return true
  }

  mutating func joined(_ message: SubscribeJoined, now: Int64) {
    guard phase == .joining || phase == .member else { return }
    if !message.memberID.isEmpty { memberID = message.memberID }
    // Whatever the broker says, within reason.
    heartbeatInterval = min(max(message.heartbeatMs, 100), 60_000) * 1_000_000
    session = min(max(message.sessionMs, 1_000), 3_600_000) * 1_000_000
    isSettled = true
    heardAt = now
    grantCredit()
    guard phase == .member else { return }
    ownedChanged = true
    heartbeat(now: now)
    let paused = slots.compactMap { $0 }.filter(\.isPaused)
    if !paused.isEmpty {
      effects.append(.send(SubscribeRequest(pause: MemberPause(pause: wire(paused)))))
    }
    for at in slots.indices {
      if slots[at]?.needsSeek == true, let received = slots[at]?.received { sendSeek(at, to: received) }
      // A failure that passes was asked about again by the stream itself.
      slots[at]?.retryAt = nil
    }
    pump(now: now)
    release(now: now)
  }

  mutating func streamLost(now: Int64) {
    isConnected = false
    isSettled = false
    credit.lost()
    // Whether it was stored is not known; to repeat it is harmless.
    if let inFlight {
      self.inFlight = nil
      for item in inFlight.items where slot(item.slot, item.grant) != nil { wantAgain(item.slot, item.want) }
    }
    if phase == .leaving { end(now: now) }
    if isClosing { leaveIfDone(now: now) }
  }

  /// The broker said that it is a member no more: everything goes without a commit, the next stream joins anew (G4).
  mutating func fenced(_ error: SkeinError) {
    guard phase != .over else { return }
    loseMembership(error)
  }

  mutating func loseMembership(_ error: SkeinError) {
    dropAll(error)
    phase = isClosing ? .over : .out
    memberID = ""
    effects.append(.fenced)
  }

  mutating func dropAll(_ error: SkeinError) {
    let lost = owned
    for at in slots.indices { remove(at, error) }
    inFlight = nil
    epoch = 0
    joinEpoch = 0
    tellLost(lost)
  }

  private mutating func tellLost(_ partitions: [ConsumedPartition]) {
    if !partitions.isEmpty, options.callsLost { effects.append(.call(.lost(partitions.sorted()))) }
  }

  // MARK: Assignments (the comment on GroupCoordination's AssignmentMessage)

  mutating func assigned(_ message: SubscribeAssignment, now: Int64) {
    guard phase == .joining || phase == .member, message.epoch >= epoch else { return }
    if joinEpoch != 0, message.joinEpoch != joinEpoch {
      // Removed meanwhile, and brought in again by a late copy of the join.
      dropAll(
        SkeinError(
          .staleMemberEpoch, "the member was removed from its group and joined again; it drops what it had"))
      effects.append(.fenced)
    }
    joinEpoch = message.joinEpoch
    let isNews = message.epoch > epoch
    epoch = message.epoch
    phase = .member
    let kept = Self.names(message.partitions)
    let revoked = Self.names(message.revoke)
    dropMissing(kept, revoked)
    if isNews { begin(kept.filter { index[$0.key] == nil }) }
    let isRepeat = revoked.keys.contains { index[$0] == nil }
    // In time for the broker's own deadline.
    revoke(revoked, deadline: now + min(max(message.revokeWithinMs, 0), 3_600_000) * 750_000)
    // From here on commits are of the new epoch.
    if isNews || isRepeat {
      ownedChanged = true
      heartbeat(now: now)
    }
    release(now: now)
    if isClosing { beginClosing(now: now) }
  }

  private static func names(_ lists: [TopicPartitions]) -> [ConsumedPartition: String] {
    var found: [ConsumedPartition: String] = [:]
    for list in lists {
      for partition in list.partitions { found[ConsumedPartition(list.topic, partition)] = list.topicID }
    }
    return found
  }

  /// What is in neither list is somebody else's.
  private mutating func dropMissing(
    _ kept: [ConsumedPartition: String], _ revoked: [ConsumedPartition: String]
  ) {
    var lost: [ConsumedPartition] = []
    for (partition, at) in index where (kept[partition] ?? revoked[partition]) != slots[at]?.topicID {
      lost.append(partition)
    }
    for partition in lost {
      guard let at = index[partition] else { continue }
      remove(
        at,
        SkeinError(
          .notAssigned, "\(partition) is not the member's any more; whoever has it commits",
          metadata: ["topic": partition.topic, "partition": String(partition.partition)]))
    }
    tellLost(lost)
  }

  private mutating func begin(_ partitions: [ConsumedPartition: String]) {
    let new = partitions.keys.sorted()
    let grants = new.map { add($0, topicID: partitions[$0] ?? "") }
    if !new.isEmpty, options.callsAssigned { effects.append(.call(.assigned(new, grants: grants))) }
  }

  private mutating func revoke(_ partitions: [ConsumedPartition: String], deadline: Int64) {
    for partition in partitions.keys {
      guard let at = index[partition], slots[at]?.phase == .active else { continue }
      slots[at]?.releaseDeadline = deadline
      giveBack(at)
    }
    grantCredit()
  }

  /// A call of the application's has returned.
  mutating func called(_ call: Call, now: Int64) {
    switch call {
    case .assigned(let partitions, let grants):
      for (partition, grant) in zip(partitions, grants) {
        guard let at = index[partition], slots[at]?.grant == grant else { continue }
        slots[at]?.isStarting = false
        list(at)
      }
    case .revoked(let partitions, let grants):
      for (partition, grant) in zip(partitions, grants) {
        guard let at = index[partition], slots[at]?.grant == grant, slots[at]?.phase == .handingOver
        else { continue }
        beginRelease(at)
      }
      pump(now: now)
    case .lost: break
    }
    release(now: now)
  }

  // MARK: Heartbeats

  mutating func heartbeat(now: Int64, reclaimed: [Wire.PartitionOffset] = []) {
    guard phase == .member, isSettled else { return }
    lastHeartbeat = now
    var message = MemberHeartbeat(
      epoch: epoch, hasOwned: ownedChanged, owned: ownedChanged ? wire(slots.compactMap { $0 }) : [],
      progress: progress, sentMs: now / 1_000_000)
    if subscriptionChanged {
      message.topics = topics
      message.patterns = patterns
    }
    ownedChanged = false
    hasAdvanced = false
    effects.append(
      .send(
        SubscribeRequest(
          heartbeat: message, reclaimed: reclaimed.isEmpty ? nil : MemberReclaimed(positions: reclaimed))))
  }

  /// Rule of the deadline: it runs while the application has, or could have, something to do.
  private var progress: Progress {
    if hasAdvanced { return .advanced }
    let isBusy = slots.contains {
      guard let slot = $0 else { return false }
      return slot.outstanding > 0 || slot.isStarting || slot.phase == .handingOver || slot.isDeliverable
        || !slot.pending.isEmpty
    }
    return isBusy ? .working : .idle
  }

  mutating func extend(now: Int64) {
    hasAdvanced = true
    heartbeat(now: now)
  }

  mutating func subscribe(topics: [String], patterns: [String], now: Int64) {
    self.topics = topics
    self.patterns = patterns
    subscriptionChanged = true
    heartbeat(now: now)
  }

  /// The broker's view of the lag.
  mutating func told(_ lags: [PartitionLag]) {
    for entry in lags {
      let partition = ConsumedPartition(entry.topic, entry.partition)
      guard index[partition] != nil else { continue }
      lag[partition] = ConsumerLag(
        committedOffset: entry.committedOffset < 0 ? nil : entry.committedOffset,
        highWatermark: entry.highWatermark, records: max(0, entry.records),
        time: .milliseconds(max(0, entry.milliseconds)))
    }
  }
}
