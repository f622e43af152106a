import GroupCoordination
import OffsetStorage
import SkeinCore
import Synchronization

/// The commits that are on their way to a store other than `log`: those of one member in the order in which they came, and
/// those that wait together as one.
///
/// A store keeps an offset from going back within one epoch; that it does not go back from one epoch to the next either
/// (G16) is looked at here, with the first commit of a partition in an epoch. Threading: any.
final class CommitLanes: Sendable {
  struct Key: Hashable, Sendable {
    var group: GroupKey
    /// Empty: of nobody.
    var member: String
  }

  /// One request, judged by the coordinator.
  struct Commit: Sendable {
    var lane: Key
    var store: String
    var memberEpoch: Int32
    var offsets: [OffsetCommit]
    /// What the coordinator said to each; those with nil are to be stored.
    var judged: [Fault?]
    let end: @Sendable (Result<[Fault?], Fault>) -> Void
  }

  private struct Lane {
    var waiting: [Commit] = []
    var isRunning = false
  }

  private struct State {
    var lanes: [Key: Lane] = [:]
    /// Where the last commit of a member in this epoch stands: partitions that need no look any more.
    var seen: [Key: (epoch: Int32, partitions: Set<TopicPartition>)] = [:]
  }

  /// Commits of one member that wait; more are refused with OVERLOADED.
  static let mostWaiting = 1_000
  /// Offsets that are stored as one.
  static let mostTogether = 10_000
  /// Members whose partitions are remembered.
  static let mostSeen = 20_000

  private let stores: OffsetStores
  private let time: any TimeSource
  private let state = Mutex(State())

  init(stores: OffsetStores, time: any TimeSource) {
    self.stores = stores
    self.time = time
  }

  // MARK: Running

  func add(_ commit: Commit, _ work: AdminQueue) {
    let (isFull, begins) = state.withLock { state -> (Bool, Bool) in
      var lane = state.lanes[commit.lane] ?? Lane()
      guard lane.waiting.count < Self.mostWaiting else { return (true, false) }
      lane.waiting.append(commit)
      let begins = !lane.isRunning
      lane.isRunning = true
      state.lanes[commit.lane] = lane
      return (false, begins)
    }
    if isFull {
      return commit.end(
        .failure(
          Fault(
            .overloaded, "\(Self.mostWaiting) commits of the member wait for the offset store already",
            retryAfterMilliseconds: 100)))
    }
    guard begins else { return }
    do throws(Fault) {
      try work.submit { [self] in await run(commit.lane) }
    } catch {
      for commit in drain(commit.lane) { commit.end(.failure(error)) }
    }
  }

  /// What waits, when nobody will run it.
  private func drain(_ key: Key) -> [Commit] {
    state.withLock { state in
      state.lanes.removeValue(forKey: key)?.waiting ?? []
    }
  }

  private func run(_ key: Key) async {
    while true {
      let batch = next(key)
      guard !batch.isEmpty else { return }
      await carryOut(batch)
    }
  }

  /// The commits at the head that are of one store and epoch; empty: none waits, and the lane rests.
  private func next(_ key: Key) -> [Commit] {
    state.withLock { state in
      guard let lane = state.lanes[key], let first = lane.waiting.first else {
        state.lanes[key] = nil
        return []
      }
      var count = 0
      var offsets = 0
      for commit in lane.waiting {
        guard commit.store == first.store, commit.memberEpoch == first.memberEpoch,
          count == 0 || offsets + commit.offsets.count <= Self.mostTogether
        else { break }
        offsets += commit.offsets.count
        count += 1
      }
      state.lanes[key]?.waiting.removeFirst(count)
      return Array(lane.waiting[..<count])
    }
  }

  // MARK: Storing

  /// What became of the commits of one batch, offset by offset.
  private struct Outcome {
    var batch: [Commit]
    /// The newest of each partition, and where it stands in the batch.
    var newest: [TopicPartition: (commit: Int, offset: Int)] = [:]

    init(_ batch: [Commit]) { self.batch = batch }

    /// Of several commits of one partition the last counts; one that goes back is refused, as it would be by the log.
    mutating func gather() {
      for index in batch.indices {
        for item in batch[index].offsets.indices where batch[index].judged[item] == nil {
          let offset = batch[index].offsets[item]
          if let before = newest[offset.partition] {
            let known = batch[before.commit].offsets[before.offset].offset
            if offset.offset < known {
              batch[index].judged[item] = CommitLanes.behind(offset, known, batch[index].lane.group)
              continue
            }
          }
          newest[offset.partition] = (index, item)
        }
      }
    }

    func offset(_ partition: TopicPartition) -> OffsetCommit? {
      newest[partition].map { batch[$0.commit].offsets[$0.offset] }
    }

    /// Refuses every commit of the partition in this batch.
    mutating func refuse(_ partition: TopicPartition, _ fault: Fault) {
      newest[partition] = nil
      for index in batch.indices {
        for item in batch[index].offsets.indices
        where batch[index].offsets[item].partition == partition && batch[index].judged[item] == nil {
          batch[index].judged[item] = fault
        }
      }
    }

    func end() { for commit in batch { commit.end(.success(commit.judged)) } }
  }

  private func carryOut(_ batch: [Commit]) async {
    var outcome = Outcome(batch)
    outcome.gather()
    let (lane, epoch, group) = (batch[0].lane, batch[0].memberEpoch, batch[0].lane.group)
    do throws(Fault) {
      let store = try stores.store(batch[0].store)
      try await lookBack(&outcome, store, lane, epoch)
      // A conflict names no partition: what is stored does. Whoever commits meanwhile has a newer epoch, so that each
      // round leaves fewer.
      for _ in 0..<4 {
        let offsets = outcome.newest.keys.sorted().compactMap { outcome.offset($0) }.map(stored)
        guard !offsets.isEmpty else { return outcome.end() }
        do throws(Fault) {
          try await store.commit(group, memberEpoch: epoch, offsets)
          remember(lane, epoch, offsets.map(\.partition))
          return outcome.end()
        } catch {
          guard error.reason == .conflict else { throw error }
          let refused = try await refuseStale(&outcome, store, group, epoch)
          guard refused > 0 else {
            throw Fault(
              .offsetStoreUnavailable,
              "the offset store \(store.name) refuses a commit that nothing in it speaks against: \(error.message)",
              metadata: ["store": store.name], retryAfterMilliseconds: 500)
          }
        }
      }
      throw Fault(
        .offsetStoreUnavailable, "others commit to the same partitions of the group faster than this one",
        retryAfterMilliseconds: 200)
    } catch {
      for commit in batch { commit.end(.failure(error)) }
    }
  }

  private func stored(_ commit: OffsetCommit) -> StoredOffset {
    StoredOffset(
      partition: commit.partition,
      committed: CommittedOffset(
        offset: commit.offset, leaderEpoch: commit.leaderEpoch, metadata: commit.metadata,
        committedAt: time.wallMilliseconds), memberEpoch: 0)
  }

  /// G16 from one epoch to the next, and for commits of nobody, which a store takes whatever it has.
  private func lookBack(
    _ outcome: inout Outcome, _ store: WatchedStore, _ lane: Key, _ epoch: Int32
  ) async throws(Fault) {
    let unseen = state.withLock { state in
      guard epoch != 0, let seen = state.seen[lane], seen.epoch == epoch else {
        return Set(outcome.newest.keys)
      }
      return Set(outcome.newest.keys).subtracting(seen.partitions)
    }
    guard !unseen.isEmpty else { return }
    for known in try await store.fetch(lane.group, unseen.sorted()) {
      guard let offset = outcome.offset(known.partition), offset.offset < known.committed.offset else {
        continue
      }
      if epoch != 0, known.memberEpoch > epoch {
        outcome.refuse(known.partition, Self.stale(known, epoch, lane.group))
      } else {
        outcome.refuse(known.partition, Self.behind(offset, known.committed.offset, lane.group))
      }
    }
  }

  /// After a conflict.
  /// - Returns: how many were refused.
  private func refuseStale(
    _ outcome: inout Outcome, _ store: WatchedStore, _ group: GroupKey, _ epoch: Int32
  ) async throws(Fault) -> Int {
    var refused = 0
    for known in try await store.fetch(group, outcome.newest.keys.sorted()) {
      guard let offset = outcome.offset(known.partition) else { continue }
      if known.memberEpoch > epoch {
        outcome.refuse(known.partition, Self.stale(known, epoch, group))
        refused += 1
      } else if known.memberEpoch == epoch, offset.offset < known.committed.offset {
        outcome.refuse(known.partition, Self.behind(offset, known.committed.offset, group))
        refused += 1
      }
    }
    return refused
  }

  private func remember(_ lane: Key, _ epoch: Int32, _ partitions: [TopicPartition]) {
    guard epoch != 0 else { return }
    state.withLock { state in
      if state.seen.count >= Self.mostSeen, state.seen[lane] == nil { state.seen = [:] }
      if state.seen[lane]?.epoch != epoch { state.seen[lane] = (epoch, []) }
      state.seen[lane]?.partitions.formUnion(partitions)
    }
  }

  /// The group's offsets changed without a commit: everything is looked at again.
  func forget(_ group: GroupKey) {
    state.withLock { state in state.seen = state.seen.filter { $0.key.group != group } }
  }

  private static func stale(_ known: StoredOffset, _ epoch: Int32, _ group: GroupKey) -> Fault {
    Fault(
      .staleMemberEpoch,
      "\(known.partition) was committed by a member of epoch \(known.memberEpoch), after the member epoch \(epoch) of this commit; whoever has the partition commits",
      metadata: ["group": group.name, "epoch": "\(epoch)", "stored_epoch": "\(known.memberEpoch)"])
  }

  fileprivate static func behind(_ commit: OffsetCommit, _ known: Offset, _ group: GroupKey) -> Fault {
    Fault(
      .commitBehind,
      "the group has committed \(known) of \(commit.partition) already and does not go back to \(commit.offset); reset its offsets to read again",
      metadata: ["group": group.name, "committed": "\(known)", "offset": "\(commit.offset)"])
  }
}
