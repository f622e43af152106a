import SkeinCore
import Wire

/// Commits: wishes per partition, gathered into one message at a time, so that many callers share an answer. A wish
/// survives a lost stream; to repeat a commit is harmless (it only rises).
extension ConsumerMachine {
  /// What is to be committed.
  enum CommitRequest: Sendable {
    /// Everything processed.
    case processed
    /// These, and nothing that is lower than what was asked for before.
    case offsets([ConsumedPartition: ReadPosition], metadata: String)
    /// Everything of the record's partition up to it.
    case record(ConsumedPartition, offset: Int64)
  }

  /// - Parameter waiter: told by `.settled` when all of it is answered; nil: nobody waits.
  /// - Throws: NOT_ASSIGNED, COMMIT_BEHIND; then nothing is committed.
  mutating func commit(_ request: CommitRequest, waiter: UInt64?, now: Int64) throws(SkeinError) {
    var needs: [UInt64: Int64] = [:]
    switch request {
    case .processed:
      for at in slots.indices {
        guard let slot = slots[at], let processed = slot.processed,
          processed.offset > slot.committed ?? -1
        else { continue }
        needs[slot.grant] = processed.offset
        if processed.offset > slot.asked { want(at, processed, isAwaited: waiter != nil) }
      }
    case .offsets(let offsets, let metadata):
      for (partition, position) in offsets {
        let at = try present(partition)
        let known = slots[at]?.asked ?? -1
        guard position.offset >= known else { throw Self.behind(partition, position.offset, known) }
      }
      for (partition, position) in offsets {
        guard let at = index[partition], let grant = slots[at]?.grant else { continue }
        needs[grant] = position.offset
        want(at, position, metadata: metadata, isAwaited: waiter != nil)
      }
    case .record(let partition, let offset):
      let at = try present(partition)
      guard let slot = slots[at], offset + 1 > slot.committed ?? -1 else { break }
      needs[slot.grant] = offset + 1
      guard offset + 1 > slot.asked else { break }
      let epoch = slot.processed?.offset == offset + 1 ? slot.processed?.leaderEpoch ?? 0 : 0
      want(at, ReadPosition(offset: offset + 1, leaderEpoch: epoch), isAwaited: waiter != nil)
    }
    if let waiter {
      if needs.isEmpty {
        effects.append(.settled(waiter: waiter, nil))
      } else {
        waiters.append(Waiter(id: waiter, needs: needs, deadline: now + options.commitPatience))
      }
    }
    pump(now: now)
  }

  private func present(_ partition: ConsumedPartition) throws(SkeinError) -> Int {
    if let at = index[partition] { return at }
    throw SkeinError(
      .notAssigned,
      "\(partition) is not the member's (any more); whoever has it commits. Commit before it is given back, in `revoked`",
      metadata: ["topic": partition.topic, "partition": String(partition.partition)])
  }

  private static func behind(_ partition: ConsumedPartition, _ offset: Int64, _ known: Int64) -> SkeinError {
    SkeinError(
      .commitBehind,
      "\(partition): \(offset) is below \(known), which is committed or about to be; a commit never goes back. To read again, seek; to begin there another time, stop the group and reset its offsets",
      metadata: [
        "topic": partition.topic, "partition": String(partition.partition), "committed": String(known),
      ])
  }

  /// Everything processed, unless it is wanted already.
  mutating func wantProcessed() {
    for at in slots.indices {
      guard let position = slots[at]?.uncommitted else { continue }
      want(at, position)
    }
  }

  mutating func want(
    _ at: Int, _ position: ReadPosition, metadata: String = "", isAwaited: Bool = false
  ) {
    let wasAwaited = slots[at]?.want?.isAwaited ?? false
    guard position.offset >= slots[at]?.want?.position.offset ?? -1 else {
      slots[at]?.want?.isAwaited = wasAwaited || isAwaited
      return
    }
    slots[at]?.want = .init(position: position, metadata: metadata, isAwaited: wasAwaited || isAwaited)
  }

  /// A commit that was not answered, or refused for now.
  mutating func wantAgain(_ at: Int, _ want: ConsumerSlot.Want) {
    slots[at]?.committing = nil
    self.want(at, want.position, metadata: want.metadata, isAwaited: want.isAwaited)
  }

  /// Sends what is wanted, if nothing is under way.
  mutating func pump(now: Int64) {
    guard inFlight == nil, phase == .member, isSettled, now >= commitRetryAt else { return }
    var items: [(slot: Int, grant: UInt64, want: ConsumerSlot.Want)] = []
    for at in slots.indices where items.count < Self.maxCommitOffsets {
      guard let want = slots[at]?.want, let grant = slots[at]?.grant else { continue }
      slots[at]?.want = nil
      slots[at]?.committing = want.position.offset
      items.append((at, grant, want))
    }
    guard !items.isEmpty else { return }
    lastCommitID += 1
    inFlight = InFlight(id: lastCommitID, items: items)
    let offsets = items.map { item in
      Wire.PartitionOffset(
        topic: slots[item.slot]?.partition.topic ?? "", partition: slots[item.slot]?.partition.partition ?? 0,
        offset: item.want.position.offset, metadata: item.want.metadata,
        leaderEpoch: item.want.position.leaderEpoch)
    }
    effects.append(.send(SubscribeRequest(commit: MemberCommit(id: lastCommitID, offsets: offsets))))
  }

  mutating func committed(_ results: CommitResults, now: Int64) {
    guard let commit = inFlight, results.id == commit.id else { return }
    inFlight = nil
    var count = 0
    for (number, item) in commit.items.enumerated() {
      guard slot(item.slot, item.grant) != nil else { continue }
      slots[item.slot]?.committing = nil
      let status = number < results.results.count ? results.results[number].error : nil
      if let status, status.code != 0 {
        refused(item.slot, item.want, SkeinError(Fault(status)), now: now)
      } else {
        count += 1
        stored(item.slot, item.want.position.offset)
      }
    }
    if count > 0 { effects.append(.committed(count)) }
    drainIfDone()
    pump(now: now)
    release(now: now)
  }

  private mutating func stored(_ at: Int, _ offset: Int64) {
    let known = slots[at]?.committed ?? -1
    slots[at]?.committed = max(offset, known)
    if let grant = slots[at]?.grant { settle(grant: grant, upTo: offset, nil) }
  }

  private mutating func refused(
    _ at: Int, _ want: ConsumerSlot.Want, _ error: SkeinError, now: Int64
  ) {
    guard let slot = slots[at] else { return }
    if error.isRetriable {
      wantAgain(at, want)
      commitRetryAt = now + max(Self.commitRetry, error.retryAfter?.nanosecondsClamped ?? 0)
      for waiter in waiters.indices where waiters[waiter].needs[slot.grant] != nil {
        waiters[waiter].lastError = error
      }
      return
    }
    if error.reason == Reason.commitBehind.name {
      // The group is further: by another way to commit, or after a seek back. What is below need not be tried again.
      let known = error.metadata["committed"].flatMap { Int64($0) } ?? want.position.offset
      slots[at]?.committed = max(known, slot.committed ?? -1)
      if !want.isAwaited {
        settle(grant: slot.grant, upTo: known, nil)
        return
      }
    }
    let isHeard = settle(grant: slot.grant, upTo: want.position.offset, error)
    if !isHeard { effects.append(.commitFailed(slot.partition, error)) }
  }

  // MARK: Who waits

  /// Commits of this grant are answered, up to this offset. Returns whether somebody waited for one.
  @discardableResult
  mutating func settle(grant: UInt64, upTo offset: Int64, _ error: SkeinError?) -> Bool {
    guard !waiters.isEmpty else { return false }
    var isHeard = false
    for at in waiters.indices {
      guard let need = waiters[at].needs[grant], need <= offset else { continue }
      waiters[at].needs[grant] = nil
      isHeard = true
      if waiters[at].failure == nil { waiters[at].failure = error }
    }
    for waiter in waiters where waiter.needs.isEmpty {
      effects.append(.settled(waiter: waiter.id, waiter.failure))
    }
    waiters.removeAll { $0.needs.isEmpty }
    return isHeard
  }

  /// Who has waited long enough is told what is the matter; the commit is tried on.
  mutating func expireWaiters(now: Int64) {
    for waiter in waiters where now >= waiter.deadline {
      effects.append(
        .settled(
          waiter: waiter.id,
          waiter.failure ?? waiter.lastError
            ?? SkeinError(
              .connectionLost,
              "the commit was not answered within \(options.commitPatience / 1_000_000_000) s; it is tried on",
              outcome: .unknown)))
    }
    waiters.removeAll { now >= $0.deadline }
  }
}
