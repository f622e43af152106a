internal import SkeinCore
internal import Synchronization

/// The write-behind thread's part in compaction: only it changes segment tables, so the cleaner asks it
/// to put a compacted segment in the place of its sources.
///
/// The order of a swap: the new file is synced, renamed and its folder synced (cleaner); the table
/// changes in memory (here); a checkpoint that names it becomes durable; the sources' files go. A crash
/// before the checkpoint leaves the sources in force, a crash after it the new segment.
extension WriteBehind {
  /// So much may wait for the next checkpoint to be removed before one is asked for, in bytes.
  private static let mostReplacedBytes: Int64 = 512 << 20

  func settle(_ order: CleanerOrder) throws(LogError) {
    switch order.kind {
    case .sweep:
      try segments.sweep(order.store)
      order.settle(true)
    case .install(let sources, let result):
      let isDone = install(result, for: sources, in: order.store)
      if isDone {
        replaced.append((order.store, sources))
        replacedBytes += sources.reduce(0) { $0 + $1.size }
        if shared.configuration.breakages.contains(.compactRemovesEarly) { try removeReplaced() }
        if replacedBytes > Self.mostReplacedBytes { recycleWanted = true }
        forgetTail(of: order.store, below: result.end)
      }
      order.settle(isDone)
    case .noTombstones(let segment):
      order.store.state.withLock { state in
        guard let index = state.segments.firstIndex(where: { $0.isSameFile(as: segment) }) else { return }
        state.segments[index].tombstonesUntil = .min
      }
      order.settle(true)
    case .finish(let end):
      order.store.state.withLock { $0.cleanedEnd = max($0.cleanedEnd, end) }
      recycleWanted = true
      order.settle(true)
    }
  }

  /// False when the table is not what the cleaner saw: retention, a deletion or damage came in between.
  private func install(_ result: Segment, for sources: [Segment], in store: PartitionStore) -> Bool {
    let isBlind = shared.configuration.breakages.contains(.compactInstallsBlindly)
    return store.state.withLock { state in
      guard !state.isDeleted, state.corruption == nil, let first = sources.first else { return false }
      if isBlind {
        let place = state.segments.firstIndex { $0.base > first.base } ?? state.segments.count
        state.segments.removeAll { segment in sources.contains { $0.isSameFile(as: segment) } }
        state.segments.insert(result, at: min(max(place - sources.count, 0), state.segments.count))
        return true
      }
      guard let index = state.segments.firstIndex(where: { $0.isSameFile(as: first) }),
        index + sources.count <= state.segments.count,
        state.segments[index..<index + sources.count].elementsEqual(sources)
      else { return false }
      state.segments.replaceSubrange(index..<index + sources.count, with: [result])
      return true
    }
  }

  /// Readers must not go on seeing in memory what compaction took: a tombstone's time counts from now, and
  /// the tail of a quiet partition may be days old.
  private func forgetTail(of store: PartitionStore, below end: Int64) {
    if shared.configuration.breakages.contains(.compactKeepsTail) { return }
    let freed = store.state.withLock { $0.tail.evict(through: end) }
    shared.tailBytes.subtract(freed, ordering: .relaxed)
  }

  /// After a checkpoint that does not name them.
  func removeReplaced() throws(LogError) {
    let gone = replaced
    replaced = []
    replacedBytes = 0
    for (store, sources) in gone {
      for segment in sources {
        try onDisk { () throws(DiskError) in try segments.remove(segment, of: store) }
      }
      segments.noteFolder(LogPaths.partition(store.key))
    }
  }
}

/// Something that the cleaner wants of the write-behind thread, and whether it was done.
final class CleanerOrder: Sendable {
  enum Kind: Sendable {
    /// Remove what an interrupted cleaning has left in the partition's folder.
    case sweep
    /// Put `result`, whose file is durable, in the place of `sources`.
    case install(sources: [Segment], result: Segment)
    /// Its tombstones were due, and none was found to drop.
    case noTombstones(Segment)
    /// Everything below is clean.
    case finish(end: Int64)
  }

  let store: PartitionStore
  let kind: Kind
  /// 0 open, 1 done, 2 refused.
  private let outcome = Atomic<UInt8>(0)

  init(_ kind: Kind, of store: PartitionStore) {
    self.kind = kind
    self.store = store
  }

  func settle(_ isDone: Bool) { outcome.store(isDone ? 1 : 2, ordering: .releasing) }

  /// Nil while it waits.
  var isDone: Bool? {
    switch outcome.load(ordering: .acquiring) {
    case 0: nil
    case 1: true
    default: false
    }
  }
}
