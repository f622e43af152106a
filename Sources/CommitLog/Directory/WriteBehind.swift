internal import SkeinCore
internal import Synchronization

/// Moves durable batches from the in-memory tails into segments, syncs these, writes checkpoints
/// and lets the journal reuse what they cover (R49). A state machine in small steps; between any two
/// of them the power may fail.
///
/// ```
/// idle ─► salvaging ─► writing ─► idle             a round: every dirty partition's tail
///                         └─► syncing ─► checkpointing ─► idle   when the journal fills, or on request
/// ```
/// Threading: the write-behind thread only (recovery before it exists, maintenance on the same thread).
final class WriteBehind {
  enum Phase {
    /// May begin a round.
    case idle
    /// Cuts damage out of partitions whose loss was accepted, segment after segment: the partition at
    /// the first index, the segment at the second; then writes.
    case salvaging([PartitionStore], Int, Int, then: [PartitionStore])
    /// Writes partition after partition, from the given index on.
    case writing([PartitionStore], Int)
    /// Syncs file after file, folder after folder.
    case syncing
    /// Everything that the journal holds up to `cut` is synced.
    case checkpointing
  }

  let shared: DirectoryShared
  let backlog: Backlog
  let partitions: PartitionMap
  let segments: SegmentFiles
  var checkpoints: CheckpointStore
  private let journal: Journal
  private(set) var phase = Phase.idle
  /// Up to here the journal belongs to rounds that were taken.
  private var cut: JournalPosition
  /// Up to here it was recycled.
  private var recycled: JournalPosition
  var recycleWanted = false
  /// Where the turn of the partition that is being written ends.
  private var turnEnd: Int64?
  private var deletedTopics: [TopicID] = []
  /// Segments that the cleaner has replaced; their files go once a checkpoint does without them.
  var replaced: [(store: PartitionStore, segments: [Segment])] = []
  var replacedBytes: Int64 = 0
  /// Written runs that readers still have in memory, oldest first.
  private var cached: [(store: PartitionStore, end: Int64)] = []

  init(
    shared: DirectoryShared, backlog: Backlog, partitions: PartitionMap, journal: Journal,
    checkpoints: CheckpointStore, segments: SegmentFiles, position: JournalPosition
  ) {
    self.shared = shared
    self.backlog = backlog
    self.partitions = partitions
    self.journal = journal
    self.checkpoints = checkpoints
    self.segments = segments
    self.cut = position
    self.recycled = position
  }

  /// Nothing is half done.
  var isIdle: Bool {
    if case .idle = phase { return true }
    return false
  }

  /// Does one bounded piece of work; false when there is nothing to do now.
  func step() throws(LogError) -> Bool {
    switch phase {
    case .idle:
      guard shouldBegin else { return false }
      try begin()
    case .salvaging(let accepted, let index, let segment, let dirty):
      phase = try salvage(accepted, index, segment, dirty)
    case .writing(let stores, let index):
      if index < stores.count {
        let finished = try writeRun(stores[index])
        phase = .writing(stores, finished ? index + 1 : index)
        evict()
      } else {
        phase = shouldRecycle ? .syncing : .idle
      }
    case .syncing:
      if shared.configuration.breakages.contains(.recycleBeforeSync) {
        phase = .checkpointing
      } else if try !segments.syncNext() {
        phase = .checkpointing
      }
    case .checkpointing:
      try checkpoint()
      phase = .idle
    }
    return true
  }

  /// After recovery: everything that it found is synced and in a checkpoint with the raised leader
  /// epoch before the first append (R22, R53).
  func settleRecovery(deletedTopics: [TopicID]) throws(LogError) {
    self.deletedTopics = deletedTopics
    while try segments.syncNext() {}
    try checkpoint()
  }

  // MARK: Decisions

  private var journalUse: Int64 { journal.capacity - journal.freeBytes }

  private var journalIsFilling: Bool {
    journalUse * 100 >= journal.capacity * Int64(shared.configuration.recycleAtPercent)
  }

  private var shouldBegin: Bool {
    if backlog.isRequested { return true }
    guard backlog.hasDirty else { return false }
    return shared.unwrittenBytes.load(ordering: .relaxed) >= shared.configuration.writeBehindBytes
      || journalIsFilling
  }

  /// A checkpoint is due.
  private var shouldRecycle: Bool { recycleWanted || journalIsFilling && cut > recycled }

  private func begin() throws(LogError) {
    let taken = backlog.take()
    cut = max(cut, taken.cut)
    recycleWanted = recycleWanted || taken.recycleRequested
    deletedTopics += taken.deletedTopics
    for order in taken.orders { try settle(order) }
    phase =
      taken.accepted.isEmpty ? .writing(taken.dirty, 0) : .salvaging(taken.accepted, 0, 0, then: taken.dirty)
  }

  private func salvage(
    _ accepted: [PartitionStore], _ index: Int, _ place: Int, _ dirty: [PartitionStore]
  ) throws(LogError) -> Phase {
    guard index < accepted.count else { return .writing(dirty, 0) }
    let store = accepted[index]
    let segment = store.state.withLock { $0.segments.indices.contains(place) ? $0.segments[place] : nil }
    guard let segment else {
      store.state.withLock { $0.corruption = nil }
      return .salvaging(accepted, index + 1, 0, then: dirty)
    }
    let salvage = SegmentSalvage(shared: shared, store: store, files: segments)
    let pieces = try onDisk { () throws(DiskError) in try salvage.run(segment) }
    if pieces.count > 1 || pieces.first?.end != segment.end { store.image.writer = nil }
    store.state.withLock { $0.segments.replaceSubrange(place...place, with: pieces) }
    return .salvaging(accepted, index, place + pieces.count, then: dirty)
  }

  // MARK: Writing

  /// Writes one run of a partition; true when its turn in this round is over. What becomes durable
  /// during the turn marks the partition dirty again, so a busy one cannot hold up the round.
  private func writeRun(_ store: PartitionStore) throws(LogError) -> Bool {
    let run = store.state.withLock { state -> ArraySlice<TailEntry> in
      if turnEnd == nil {
        state.isDirty = false
        turnEnd = state.durableEnd
      }
      return state.tail.nextRun(
        durableEnd: turnEnd ?? 0, maxBytes: shared.configuration.writeRunBytes)
    }
    guard let last = run.last else {
      turnEnd = nil
      advanceLogStart(store)
      return true
    }
    try segments.append(run, to: store)
    cached.append((store, last.end))
    return false
  }

  /// A durable log start takes effect as far as records are written: it never passes their end. When
  /// it frees a segment, the round ends with the checkpoint that must come before the file goes (R34).
  private func advanceLogStart(_ store: PartitionStore) {
    let (start, frees) = store.state.withLock { state in
      let start = min(state.logStart, state.writtenEnd)
      return (start, state.segments.first.map { $0.isSealed && $0.end <= start } ?? false)
    }
    store.image.logStart = max(store.image.logStart, start)
    if frees { recycleWanted = true }
  }

  /// Drops the oldest written batches from memory while there are too many.
  private func evict() {
    var count = 0
    while count < cached.count,
      shared.tailBytes.load(ordering: .relaxed) > shared.configuration.tailBudgetBytes
    {
      let (store, end) = cached[count]
      let freed = store.state.withLock { $0.tail.evict(through: end) }
      shared.tailBytes.subtract(freed, ordering: .relaxed)
      count += 1
    }
    cached.removeFirst(count)
  }

  // MARK: Checkpoint

  /// Writes the checkpoint, then recycles the journal and removes the files that the checkpoint no
  /// longer names (R34).
  func checkpoint() throws(LogError) {
    let now = shared.time.wallMilliseconds
    let forgets = shared.configuration.breakages.contains(.forgetProducerSnapshot)
    var builder = CheckpointBuilder(
      leaderEpoch: partitions.leaderEpoch, now: now, withProducers: !forgets)
    for log in partitions.all { builder.add(log.store) }
    try save(builder.checkpoint)
    recycleWanted = false
    recycled = cut
    try journal.recycle(through: cut)
    try segments.retire(builder.retired)
    try removeReplaced()
    if !deletedTopics.isEmpty { cached.removeAll { $0.store.state.withLock { $0.isDeleted } } }
    while let topic = deletedTopics.first {
      try segments.removeTopic(topic)
      deletedTopics.removeFirst()
    }
  }

  /// A checkpoint must succeed on a full disk too, or nothing could ever be deleted (R57).
  private func save(_ checkpoint: Checkpoint) throws(LogError) {
    do throws(DiskError) {
      try checkpoints.save(checkpoint)
    } catch {
      guard error.kind == .noSpace, try segments.releaseEmergencySpace() else { throw LogError(error) }
      try onDisk { () throws(DiskError) in try checkpoints.save(checkpoint) }
    }
  }
}
