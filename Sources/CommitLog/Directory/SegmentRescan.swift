internal import RecordFormat
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
    let files = Self.newest(try shared.disk.list(folder))
    let bases = files.keys.sorted()
    store.image.hasFolder = true
    store.image.isSwept = true
    let known = store.state.withLock { $0.segments }
    let end = store.state.withLock { $0.durableEnd }
    if known.contains(where: { $0.generation > 0 }) || files.values.contains(where: { $0 > 0 }),
      !bases.isEmpty
    {
      try scanCompacted(files, bases, of: store, upTo: end)
    } else {
      dropMissing(bases, of: store)
      let known = store.state.withLock { $0.segments }
      if let active = known.last, !active.isSealed { try scanOn(active, of: store, producersFrom: 0) }
      let later = bases.filter { $0 > known.last?.base ?? -1 }
      try scan(later, files, of: store, producersFrom: 0)
    }
    try shared.disk.syncDirectory(folder)
  }

  /// The newest generation of each segment: an older one is what it was made of, and gone as soon as a
  /// checkpoint knew.
  private static func newest(_ entries: [DirectoryEntry]) -> [Int64: UInt32] {
    var files: [Int64: UInt32] = [:]
    for entry in entries {
      guard let (base, generation) = LogPaths.segment(ofName: entry.name, suffix: ".log") else { continue }
      files[base] = max(files[base] ?? 0, generation)
    }
    return files
  }

  /// The cleaner may have replaced any of the segments that the old checkpoint names: all are read anew.
  /// A compacted one holds every offset of those that it replaced, so what it covers is passed over.
  private func scanCompacted(
    _ files: [Int64: UInt32], _ bases: [Int64], of store: PartitionStore, upTo known: Int64
  ) throws(DiskError) {
    let start = store.state.withLock { state -> Int64 in
      state.segments = []
      state.epochs = EpochCache()
      state.durableEnd = 0
      state.writtenEnd = 0
      return state.logStart
    }
    // The old checkpoint's producers are those of its end; what follows is learned from the batches (P8).
    try scan(bases, files, of: store, producersFrom: known)
    let missing = store.state.withLock { state -> Range<Int64>? in
      state.logStart = max(start, state.logStart)
      guard state.durableEnd < known else { return nil }
      defer { (state.durableEnd, state.writtenEnd) = (known, known) }
      return state.durableEnd..<known
    }
    if let missing {
      store.condemn("the records \(missing.lowerBound) ..< \(missing.upperBound) are missing")
    }
    store.image.logStart = store.state.withLock { $0.logStart }
  }

  /// Takes in these files, in the order of their offsets.
  private func scan(
    _ bases: [Int64], _ files: [Int64: UInt32], of store: PartitionStore, producersFrom: Int64
  ) throws(DiskError) {
    for base in bases {
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
      if base > end { store.condemn("the records \(end) ..< \(base) are missing") }
      store.state.withLock { state in
        if let last = state.segments.indices.last {
          state.segments[last].isSealed = true
          state.segments[last].index = nil
        }
        state.durableEnd = base
        state.segments.append(Segment(base: base, generation: files[base] ?? 0))
      }
      try scanOn(
        Segment(base: base, generation: files[base] ?? 0), of: store, producersFrom: producersFrom)
    }
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
        state.condemn("the file of segment \(missing.base) is missing")
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
  private func scanOn(
    _ segment: Segment, of store: PartitionStore, producersFrom: Int64
  ) throws(DiskError) {
    let file = try shared.disk.open(LogPaths.segment(store.key, segment), .readWrite)
    let size = min(try file.size(), Int64(UInt32.max))
    let epoch = store.state.withLock { $0.epochs.newest ?? 0 }
    let scan = SegmentScan(file: file, key: store.key, verifyPayload: true)
    var tombstonesUntil = Int64.min
    let end = try scan.batches(
      from: segment.size, to: size, offset: segment.end, epoch: epoch
    ) { facts, _, stored in
      let horizon = stored.withUnsafeBytes { bytes in
        (try? BatchHeader(parsing: UnsafeRawBufferPointer(rebasing: bytes[Frame.size...])))?.deleteHorizon
      }
      if let horizon { tombstonesUntil = max(tombstonesUntil, horizon) }
      if let stamp = facts.producer, facts.base >= producersFrom {
        store.image.producers.record(stamp, base: facts.base, appendTime: facts.appendTime)
      }
      store.state.withLock { state in
        state.segments[state.segments.count - 1].note(facts)
        state.durableEnd = facts.end
        state.writtenEnd = facts.end
        state.epochs.note(epoch: facts.epoch, start: facts.base)
        state.lastAppendTime = max(state.lastAppendTime, facts.appendTime)
      }
      return true
    }
    if segment.generation > 0 {
      // It was whole when it got its name: nothing in it can be a torn tail.
      if let flaw = end.flaw { store.condemn("segment \(segment.base) is damaged: \(flaw)") }
      store.state.withLock { state in
        state.segments[state.segments.count - 1].isSealed = true
        state.segments[state.segments.count - 1].index = nil
        state.segments[state.segments.count - 1].tombstonesUntil = tombstonesUntil
      }
    } else if end.flaw != nil, let later = try scan.nextIntact(after: end, limit: size) {
      store.condemn(
        "segment \(segment.base) is damaged at offset \(end.nextOffset); offset \(later.offset) is intact")
    }
    try file.sync()
  }
}
