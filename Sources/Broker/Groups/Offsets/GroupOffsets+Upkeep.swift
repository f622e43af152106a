import CommitLog
import GroupCoordination
import Logging
import NIOPosix
import OffsetStorage
import SkeinCore
import Wire

/// What time does to offsets in other stores than `log`, whose own the coordinators expire.
extension GroupOffsets {
  func upkeep(_ context: BrokerContext) async {
    let directory = context.workers.directory
    let condition = try? await context.workers.readPool.runIfActive { directory.condition() }
    await upkeep(
      existing: Set(context.registry.all.map(\.id)), isClockInDoubt: condition?.isRetentionPaused ?? true)
  }

  /// Ends moves whose last step was interrupted; removes offsets of topics that are gone; and groups that their
  /// coordinator has forgotten because they were empty for the retention time (G21). One round; a store that does not
  /// answer is left for the next one.
  /// - Parameters:
  ///   - existing: all topics.
  ///   - isClockInDoubt: then nothing expires (R60).
  func upkeep(existing: Set<TopicID>, isClockInDoubt: Bool) async {
    let before = time.wallMilliseconds - groups.times.offsetRetention
    for (key, record) in choices.groups {
      guard !Task.isCancelled else { return }
      do throws(Fault) {
        if !record.emptying.isEmpty {
          try await choices.alone(key, "being moved") { () throws(Fault) in
            guard choices.choice(of: key)?.record == record else { return }
            let move = OffsetMove(offsets: self, key: key, target: record.store, principal: record.changedBy)
            { _ in }
            try await move.empty(record.emptying, total: nil)
          }
        }
        guard record.movingTo.isEmpty, record.emptying.isEmpty else { continue }
        if record.store == Self.log {
          // The coordinator expires the offsets; what says where they are goes after them.
          if !isClockInDoubt, record.changedMs <= before { try await forgetExpired(key, nil) }
          continue
        }
        try await look(
          key, record.store, existing: existing, before: isClockInDoubt ? nil : before, record.changedMs)
      } catch {
        // Members that hold a move's last step up, a store that is down, a group that is being changed: next time.
        logger.debug(
          "offsets in another store were left for the next round",
          metadata: ["group": "\(key)", "why": "\(error.message.displayable)"])
      }
    }
  }

  private func look(
    _ key: GroupKey, _ name: String, existing: Set<TopicID>, before: Int64?, _ changed: Int64
  ) async throws(Fault) {
    let store = try stores.store(name)
    guard store.isAvailable else { return }
    let known = try await store.fetch(key, nil)
    let orphans = known.map(\.partition).filter { !existing.contains($0.topic) }
    if !orphans.isEmpty { try await store.remove(key, orphans) }
    guard let before, changed <= before, known.allSatisfy({ $0.committed.committedAt <= before }) else {
      return
    }
    try await forgetExpired(key, store)
  }

  /// A group that its coordinator has forgotten, with everything that the store has of it.
  private func forgetExpired(_ key: GroupKey, _ store: WatchedStore?) async throws(Fault) {
    guard case .failure(let fault) = await ask(.describe(key), key), fault.reason == .groupNotFound else {
      return
    }
    try await choices.alone(key, "expiring") { () throws(Fault) in
      // Commits that came meanwhile have made the group again.
      guard case .failure(let fault) = await ask(.describe(key), key), fault.reason == .groupNotFound,
        let choice = choices.choice(of: key)
      else { return }
      try await store?.remove(key, nil)
      try await choices.change(key, from: choice, to: nil, by: "")
    }
  }
}
