import SkeinCore
import Wire

/// Giving back: single partitions, all of them, and the membership.
extension ConsumerMachine {
  /// Nothing more of it begins; `release` does the rest.
  mutating func giveBack(_ at: Int) {
    dropQueue(at)
    guard slots[at]?.phase == .active else { return }
    slots[at]?.phase = .revoking
    mayRelease = true
  }

  /// Moves on what is to be given back, and leaves when that was all.
  mutating func release(now: Int64) {
    if mayRelease { moveOn(now: now) }
    leaveIfDone(now: now)
  }

  /// To the application's `revoked`, to the last commit, away.
  private mutating func moveOn(now: Int64) {
    let idle = slots { $0.phase == .revoking && $0.outstanding == 0 && !$0.isStarting }
    if !idle.isEmpty {
      if options.callsRevoked {
        for at in idle { slots[at]?.phase = .handingOver }
        let handed = idle.compactMap { slots[$0] }.sorted { $0.partition < $1.partition }
        effects.append(.call(.revoked(handed.map(\.partition), grants: handed.map(\.grant))))
      } else {
        for at in idle { beginRelease(at) }
      }
      pump(now: now)
    }
    // A commit that does not come through must not cost the membership: the records are repeated elsewhere.
    let done = slots {
      $0.phase == .releasing && (($0.want == nil && $0.committing == nil) || now >= $0.releaseDeadline)
    }
    let stopped = done.compactMap { drop($0) }
    mayRelease = slots.contains { $0.map { $0.phase != .active } ?? false }
    guard !done.isEmpty, !isClosing else { return }
    ownedChanged = true
    heartbeat(now: now, reclaimed: stopped)
  }

  mutating func beginRelease(_ at: Int) {
    slots[at]?.phase = .releasing
    if options.commitInterval != nil, let position = slots[at]?.uncommitted { want(at, position) }
  }

  /// Returns where the member stopped.
  private mutating func drop(_ at: Int) -> Wire.PartitionOffset? {
    guard let slot = slots[at] else { return nil }
    let isAnswered = slot.want == nil && slot.committing == nil
    remove(
      at,
      isAnswered
        ? nil
        : SkeinError(
          .notAssigned, "\(slot.partition) was given back before its commit was answered", outcome: .unknown))
    return (slot.processed ?? slot.position).map {
      Wire.PartitionOffset(
        topic: slot.partition.topic, partition: slot.partition.partition, offset: $0.offset,
        leaderEpoch: $0.leaderEpoch)
    }
  }

  // MARK: Leaving

  /// The broker goes away: what is processed is committed, then this side says no more, so that it need not wait for
  /// its deadline. The membership goes on, on the next stream.
  mutating func drain(now: Int64) {
    isDraining = true
    if options.commitInterval != nil { wantProcessed() }
    pump(now: now)
    drainIfDone()
  }

  mutating func drainIfDone() {
    guard isDraining, inFlight == nil, isConnected else { return }
    isDraining = false
    effects.append(.sendEnd)
  }

  /// Nothing is delivered any more; what handlers are at is waited for, then the last commit, then it leaves.
  mutating func close(temporarily: Bool, now: Int64) {
    guard !isClosing, phase != .over else { return }
    isClosing = true
    leavesTemporarily = temporarily
    closeDeadline = now + options.closeTimeout
    beginClosing(now: now)
  }

  mutating func beginClosing(now: Int64) {
    for at in slots.indices where slots[at] != nil {
      // A loop does not come back for more; what it has in hand is not processed.
      if slots[at]?.isLoopLease == true, slots[at]?.lease != nil { endLease(at) }
      slots[at]?.isStarting = false
      giveBack(at)
    }
    release(now: now)
  }

  mutating func leaveIfDone(now: Int64) {
    guard isClosing, index.isEmpty, phase != .over, phase != .leaving else { return }
    guard isConnected, phase == .joining || phase == .member else { return end(now: now) }
    phase = .leaving
    effects.append(.send(SubscribeRequest(leave: MemberLeave(temporary: leavesTemporarily))))
    effects.append(.sendEnd)
  }

  /// At once, without a word.
  mutating func end(now: Int64) {
    guard phase != .over else { return }
    dropAll(
      SkeinError(.cancelled, "the consumer is closed before the commit was answered", outcome: .unknown))
    phase = .over
    isClosing = true
    if isConnected { effects.append(.reconnect) }
    isConnected = false
  }
}
