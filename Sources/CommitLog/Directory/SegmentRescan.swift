internal import SkeinCore
internal import Synchronization

/// Learns from the segment files what they hold beyond an old checkpoint, or without any (R1, R51).
/// Every scanned file and folder is synced before it is believed (R53). Threading: recovery.
struct SegmentRescan {
  private let shared: DirectoryShared
  private(set) var stores: [TopicPartition: PartitionStore]

  init(shared: DirectoryShared, stores: [TopicPartition: PartitionStore]) {
    self.shared = shared
    self.stores = stores
  }

  mutating func run() throws(DiskError) {
    for topic in try shared.disk.list(LogPaths.topics) where topic.isDirectory {
      guard let id = TopicID(topic.name) else { continue }
      for folder in try shared.disk.list(LogPaths.topic(id)) where folder.isDirectory {
        guard let number = Int32(folder.name), number >= 0 else { continue }
        let key = TopicPartition(topic: id, partition: number)
        let store = stores[key] ?? PartitionStore(key: key)
        stores[key] = store
        try scan(store)
      }
      try shared.disk.syncDirectory(LogPaths.topic(id))
    }
    try shared.disk.syncDirectory(LogPaths.topics)
  }

  private func scan(_ store: PartitionStore) throws(DiskError) {
    let folder = LogPaths.partition(store.key)
    let bases = try shared.disk.list(folder)
      .compactMap { LogPaths.base(ofName: $0.name, suffix: ".log") }.sorted()
    store.image.hasFolder = true
    store.image.isSwept = true
    dropMissing(bases, of: store)
    let known = store.state.withLock { $0.segments }
    if let active = known.last, !active.isSealed { try scanOn(active, of: store) }
    for base in bases where base > known.last?.base ?? -1 {
      let end = store.state.withLock { state -> Int64 in
        if state.segments.isEmpty && state.durableEnd == 0 {
          // No checkpoint knows the partition: its log begins with its first segment.
          state.durableEnd = base
          state.writtenEnd = base
          state.logStart = base
        }
        return state.durableEnd
      }
      // A file below the end is a leftover of an older life of the offsets.
      guard base >= end else { continue }
      if base > end { condemn(store, "the records \(end) ..< \(base) are missing") }
      store.state.withLock { state in
        if let last = state.segments.indices.last {
          state.segments[last].isSealed = true
          state.segments[last].index = nil
        }
        state.durableEnd = base
        state.segments.append(Segment(base: base))
      }
      try scanOn(Segment(base: base), of: store)
    }
    try shared.disk.syncDirectory(folder)
  }

  /// Segments that the old checkpoint names and that are gone. Retention takes the oldest first, so
  /// missing ones at the front are its work, and the log begins behind them; any other is damage.
  private func dropMissing(_ bases: [Int64], of store: PartitionStore) {
    let present = Set(bases)
    let start = store.state.withLock { state -> Int64 in
      let gone = state.segments.prefix { $0.isSealed && !present.contains($0.base) }
      if let last = gone.last { state.logStart = max(state.logStart, last.end) }
      state.segments.removeFirst(gone.count)
      if let missing = state.segments.first(where: { !present.contains($0.base) }) {
        if state.corruption == nil { state.corruption = "the file of segment \(missing.base) is missing" }
        if let last = state.segments.indices.last, !present.contains(state.segments[last].base) {
          state.segments[last].isSealed = true
          state.segments[last].index = nil
        }
      }
      return state.logStart
    }
    store.image.logStart = start
  }

  /// Takes in what the segment's file holds beyond its known content.
  private func scanOn(_ segment: Segment, of store: PartitionStore) throws(DiskError) {
    let file = try shared.disk.open(LogPaths.segment(store.key, base: segment.base), .readWrite)
    let size = min(try file.size(), Int64(UInt32.max))
    let epoch = store.state.withLock { $0.epochs.newest ?? 0 }
    let scan = SegmentScan(file: file, key: store.key, verifyPayload: true)
    let end = try scan.run(from: segment.size, to: size, offset: segment.end, epoch: epoch) { facts, _ in
      if let stamp = facts.producer {
        store.image.producers.record(stamp, base: facts.base, appendTime: facts.appendTime)
      }
      store.state.withLock { state in
        state.segments[state.segments.count - 1].note(facts)
        state.durableEnd = facts.end
        state.writtenEnd = facts.end
        state.epochs.note(epoch: facts.epoch, start: facts.base)
        state.lastAppendTime = max(state.lastAppendTime, facts.appendTime)
      }
    }
    if end.flaw != nil, let later = try scan.nextIntact(after: end, limit: size) {
      condemn(
        store,
        "segment \(segment.base) is damaged at offset \(end.nextOffset); offset \(later.offset) is intact")
    }
    try file.sync()
  }

  private func condemn(_ store: PartitionStore, _ why: String) {
    store.state.withLock { if $0.corruption == nil { $0.corruption = why } }
  }
}
