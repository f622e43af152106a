internal import SkeinCore
internal import Synchronization

/// Brings a directory from what is on disk to what may be served: checkpoint, then (only if the
/// newest checkpoint was lost) the segments past it, then the journal. Everything it found is in
/// synced segments and in a new checkpoint before it ends (R53), so the journal starts empty.
///
/// Threading: the thread that opens the directory; nothing else exists yet.
struct Recovery {
  private let shared: DirectoryShared
  private let segments: SegmentFiles
  private(set) var checkpoints: CheckpointStore
  private(set) var stores: [TopicPartition: PartitionStore] = [:]
  /// Topics whose end the journal reports.
  private(set) var deletedTopics: [TopicID] = []
  /// The highest leader epoch seen anywhere.
  private(set) var highestEpoch: Int32 = 0
  /// Whether the last process closed the directory in order.
  let wasClean: Bool

  /// Partitions with replayed batches that are only in memory, and their bytes.
  private var pending: [PartitionStore] = []
  private var pendingBytes = 0
  /// The journal group in which each replayed partition was last seen.
  private var lastSeen: [TopicPartition: UInt64] = [:]

  init(shared: DirectoryShared, segments: SegmentFiles, cleanEpoch: Int32?) throws(LogError) {
    self.shared = shared
    self.segments = segments
    self.checkpoints = CheckpointStore(disk: shared.disk)
    self.wasClean = cleanEpoch != nil
    self.highestEpoch = max(cleanEpoch ?? 0, 0)
  }

  // MARK: Checkpoint

  mutating func loadCheckpoint() throws(LogError) {
    var loader = checkpoints
    let found = try onDisk { () throws(DiskError) in try loader.load() }
    checkpoints = loader
    switch found {
    case .newest(let checkpoint):
      take(checkpoint)
    case .older(let checkpoint):
      take(checkpoint)
      boundEpoch()
      try rescan()
    case .none:
      try rescan()
    case .unreadable:
      boundEpoch()
      try rescan()
    }
  }

  /// The epoch of a lost checkpoint is not known, but every start raises the epoch by one and writes
  /// at least one checkpoint: the generation, which is in the file's name, is never below it.
  private mutating func boundEpoch() {
    highestEpoch = max(highestEpoch, Int32(clamping: checkpoints.generation))
  }

  private mutating func take(_ checkpoint: Checkpoint) {
    highestEpoch = max(highestEpoch, checkpoint.leaderEpoch)
    for row in checkpoint.rows { stores[row.key] = PartitionStore(row) }
  }

  /// Without the newest checkpoint the segments themselves must say what they hold (R1).
  private mutating func rescan() throws(LogError) {
    var scanner = SegmentRescan(shared: shared, stores: stores)
    try onDisk { () throws(DiskError) in try scanner.run() }
    stores = scanner.stores
    for store in stores.values {
      highestEpoch = max(highestEpoch, store.state.withLock { $0.epochs.newest ?? 0 })
    }
  }

  // MARK: Journal

  /// Applies the journal's entries; what a checkpoint or segment holds already is skipped.
  mutating func replay(_ recovery: JournalRecovery) throws(LogError) {
    try recovery.replay { (entry, position) throws(LogError) in
      try apply(entry, sequence: position.sequence)
    }
    try drain()
    markDamage(recovery.corruptions)
  }

  private mutating func apply(_ entry: JournalEntry, sequence: UInt64) throws(LogError) {
    switch entry.kind {
    case .batch:
      lastSeen[entry.key] = sequence
      try applyBatch(entry)
    case .logStart:
      if shared.configuration.breakages.contains(.forgetLogStart) { return }
      guard let start = LogStartPayload.decoded(entry.parts.first) else { return }
      lastSeen[entry.key] = sequence
      let store = try store(entry.key)
      store.state.withLock { $0.logStart = max($0.logStart, start) }
    case .topicDeleted:
      try drain()
      deletedTopics.append(entry.key.topic)
      stores = stores.filter { $0.key.topic != entry.key.topic }
    case .roll, .leaderEpoch:
      return
    }
  }

  private mutating func applyBatch(_ entry: JournalEntry) throws(LogError) {
    let store = try store(entry.key)
    guard let stored = entry.parts.first else { return }
    let parsed = stored.withUnsafeBytes {
      StoredFrame.parse($0, key: entry.key, verifyPayload: false)
    }
    guard case .success(let facts) = parsed else {
      return store.condemn("a journal entry does not hold a batch of this partition")
    }
    highestEpoch = max(highestEpoch, facts.epoch)
    let (end, newest) = store.state.withLock { ($0.durableEnd, $0.epochs.newest ?? 0) }
    if facts.end <= end { return }
    if facts.base < end || facts.epoch < newest {
      return store.condemn("the journal's batch at \(facts.base) does not continue the log at \(end)")
    }
    if facts.base > end {
      store.condemn("the records \(end) ..< \(facts.base) are missing")
      try drain()
    }
    take(stored, facts, into: store)
    if pendingBytes > 4 * shared.configuration.writeRunBytes { try drain() }
  }

  private mutating func take(_ stored: SharedBytes, _ facts: BatchFacts, into store: PartitionStore) {
    let entry = TailEntry(
      facts: facts, frame: stored.slice(0..<StoredFrame.size),
      batch: stored.slice(StoredFrame.size..<stored.count))
    let wasClean = store.state.withLock { state -> Bool in
      state.tail.append(entry)
      state.durableEnd = facts.end
      state.epochs.note(epoch: facts.epoch, start: facts.base)
      state.lastAppendTime = max(state.lastAppendTime, facts.appendTime)
      defer { state.isDirty = true }
      return !state.isDirty
    }
    if wasClean { pending.append(store) }
    pendingBytes += facts.byteCount
    shared.unwrittenBytes.add(facts.byteCount, ordering: .relaxed)
  }

  /// Writes replayed batches to their segments and forgets them.
  private mutating func drain() throws(LogError) {
    for store in pending {
      while true {
        let run = store.state.withLock { state in
          state.tail.nextRun(durableEnd: state.durableEnd, maxBytes: shared.configuration.writeRunBytes)
        }
        guard let last = run.last else { break }
        guard try write(run, to: store) else { continue }
        store.state.withLock { _ = $0.tail.evict(through: last.end) }
      }
      store.state.withLock { $0.isDirty = false }
    }
    pending = []
    pendingBytes = 0
  }

  /// False when space was given up for it: take the run anew, part of it may be written.
  private func write(_ run: ArraySlice<TailEntry>, to store: PartitionStore) throws(LogError) -> Bool {
    do throws(LogError) { try segments.append(run, to: store) } catch {
      guard case .full = error, try segments.releaseEmergencySpace() else { throw error }
      return false
    }
    return true
  }

  private mutating func store(_ key: TopicPartition) throws(LogError) -> PartitionStore {
    if let found = stores[key] {
      try segments.removeOrphans(of: found)
      return found
    }
    let made = PartitionStore(key: key)
    stores[key] = made
    try segments.removeOrphans(of: made)
    return made
  }

  // MARK: Damage

  private func markDamage(_ corruptions: [JournalCorruption]) {
    for corruption in corruptions {
      switch corruption.loss {
      case .nothing: continue
      case .partition(let key):
        if let store = stores[key] { store.condemn("journal entries of this partition are damaged") }
      case .unknown:
        // Whoever has intact and contiguous entries behind the hole has lost nothing in it.
        for (key, store) in stores where lastSeen[key] ?? 0 < corruption.sequences.upperBound {
          store.condemn("journal entries that nobody can attribute are damaged")
        }
      }
    }
  }

  /// Makes the log starts of journal and checkpoint effective, and the producers those of the log end.
  func finish() {
    var producers = 0
    for store in stores.values {
      let (start, count) = store.state.withLock { state -> (Int64, Int) in
        state.logStart = min(state.logStart, state.durableEnd)
        state.producers = store.image.producers
        return (state.logStart, state.producers.count)
      }
      store.image.logStart = start
      producers += count
    }
    shared.producerCount.store(producers, ordering: .relaxed)
  }
}

extension PartitionStore {
  /// As a checkpoint remembers it.
  convenience init(_ row: Checkpoint.Row) {
    var state = State()
    state.durableEnd = row.end
    state.writtenEnd = row.end
    state.logStart = row.logStart
    state.segments = row.segments
    for epoch in row.epochs { state.epochs.note(epoch: epoch.epoch, start: epoch.start) }
    state.lastAppendTime = row.lastAppendTime
    state.cleanedEnd = row.cleanedEnd
    state.corruption = row.corruption
    var image = PartitionImage()
    image.logStart = row.logStart
    for (id, entry) in row.producers { image.producers.restore(id, entry) }
    self.init(key: row.key, state: state, image: image)
  }
}
