internal import RecordFormat
internal import SkeinCore
internal import Synchronization

/// Log compaction: of records with the same key only the last stays (ADR 0012).
///
/// A round takes one partition: the keys of what is new go into a map of bounded size, then every segment
/// up to there is read again and written without the records that a newer one of the map supersedes,
/// group after group from the oldest on. Keys beyond the map's room wait for the next round, which
/// follows at once. Nothing is changed in place; how a rewritten segment takes its sources' place is
/// told in `WriteBehind+Cleaner.swift`.
///
/// Threading: one thread at a time; it blocks on the disk. A step reads at most about what it was told
/// to, or one batch.
final class Cleaner: Sendable {
  private enum Phase {
    case idle
    /// The write-behind thread settles `order`; then on with `next`.
    case waiting(CleanerOrder, CleaningJob, next: Next)
    case mapping(CleaningJob)
    case sifting(CleaningJob)
  }

  private enum Next { case map, sift, end }

  /// Why a round ends before its time.
  private enum Stop: Error {
    /// Deleted, changed or damaged meanwhile, or no room on the disk: another day.
    case abandoned(String)
    case damaged(Segment, String)
    /// The disk failed under the new file (R56).
    case failed(DiskError)
  }

  private let shared: DirectoryShared
  private let partitions: PartitionMap
  private let backlog: Backlog
  // `nonisolated(unsafe)`: one thread at a time, by contract of `LogDirectory.cleanStep`.
  nonisolated(unsafe) private var phase = Phase.idle
  // `nonisolated(unsafe)`: the cleaner's thread only, as above.
  nonisolated(unsafe) private var sieve = BatchSieve()
  // `nonisolated(unsafe)`: the cleaner's thread only, as above.
  /// Its last round ended with a full map: it goes on before others begin.
  nonisolated(unsafe) private var unfinished: TopicPartition?

  private var breakages: Set<LogBreakage> { shared.configuration.breakages }

  init(shared: DirectoryShared, partitions: PartitionMap, backlog: Backlog) {
    self.shared = shared
    self.partitions = partitions
    self.backlog = backlog
  }

  func step(maxBytes: Int) throws(LogError) -> CleanStep {
    let maxBytes = Int64(max(maxBytes, 1))
    guard let job else { return begin() }
    do throws(Stop) {
      try check(job)
      switch phase {
      case .idle: return CleanStep(progress: .idle)
      case .waiting(let order, _, let next): return try goOn(order, job, next)
      case .mapping: return try map(job, maxBytes)
      case .sifting: return try sift(job, maxBytes)
      }
    } catch {
      return try end(job, error)
    }
  }

  private var job: CleaningJob? {
    switch phase {
    case .idle: nil
    case .waiting(_, let job, _), .mapping(let job), .sifting(let job): job
    }
  }

  // MARK: Choosing

  /// The partition that needs it most; nothing while the clock is doubtful (R60).
  private func begin() -> CleanStep {
    guard !shared.retentionPaused.load(ordering: .relaxed) else { return CleanStep(progress: .idle) }
    let now = shared.time.wallMilliseconds
    var best: CleaningChoice?
    var dirtiest = 0.0
    for log in partitions.all {
      guard let choice = CleaningChoice(log.store, now: now) else { continue }
      dirtiest = max(dirtiest, choice.dirtyShare)
      let goesOn = unfinished == log.key && choice.dirtyShare > 0
      guard choice.isDue || choice.hasDueTombstones || goesOn else { continue }
      if goesOn {
        best = choice
        break
      }
      if choice.dirtyShare > best?.dirtyShare ?? -1 { best = choice }
    }
    shared.cleaning.update { $0.dirtiest = Int(dirtiest * 1000) }
    unfinished = nil
    guard let best else { return CleanStep(progress: .idle) }
    let job = CleaningJob(best, now: now, memory: shared.configuration.compactionBytes, breakages: breakages)
    wait(for: CleanerOrder(.sweep, of: job.store), job, then: .map)
    return CleanStep(progress: .waiting)
  }

  /// What is under way has a point still.
  private func check(_ job: CleaningJob) throws(Stop) {
    let why = job.store.state.withLock { state -> String? in
      if state.isDeleted { return "the topic was deleted" }
      if state.corruption != nil { return "the partition is offline" }
      return state.settings?.isCompacted == true ? nil : "the topic is not compacted any more"
    }
    if let why { throw .abandoned(why) }
  }

  // MARK: Orders

  private func wait(for order: CleanerOrder, _ job: CleaningJob, then next: Next) {
    backlog.order(order)
    phase = .waiting(order, job, next: next)
  }

  private func goOn(_ order: CleanerOrder, _ job: CleaningJob, _ next: Next) throws(Stop) -> CleanStep {
    guard let isDone = order.isDone else { return CleanStep(progress: .waiting) }
    guard isDone else { throw .abandoned("its segments have changed") }
    switch next {
    case .map:
      job.source = job.sources.firstIndex { $0.end > job.dirtyStart } ?? job.sources.count
      if job.source < job.sources.count { job.begin(job.sources[job.source]) }
      phase = .mapping(job)
    case .sift:
      job.rewriter = nil
      nextGroup(job)
    case .end:
      phase = .idle
      if job.isPartial { unfinished = job.store.key }
      shared.cleaning.update { statistics in
        statistics.rounds += 1
        statistics.keysTooLong += job.keysTooLong
      }
    }
    return CleanStep(progress: .working)
  }

  private func nextGroup(_ job: CleaningJob) {
    job.group += 1
    job.source = 0
    if job.group < job.groups.count { job.begin(job.groups[job.group][0]) }
    phase = .sifting(job)
  }

  // MARK: Mapping

  private func map(_ job: CleaningJob, _ maxBytes: Int64) throws(Stop) -> CleanStep {
    guard job.source < job.sources.count, !job.isPartial else {
      startSifting(job)
      return CleanStep(progress: .working)
    }
    let segment = job.sources[job.source]
    let start = job.place.position
    let end = try scan(job, segment, maxBytes) { facts, _, stored in job.note(facts, stored, &sieve) }
    if end.isStopped {
      job.isPartial = true
      if breakages.contains(.compactClaimsTooMuch) { job.mapEnd = job.sources.last?.end ?? job.mapEnd }
    } else {
      job.mapEnd = max(job.mapEnd, end.nextOffset)
      if end.position >= segment.size {
        job.source += 1
        if job.source < job.sources.count { job.begin(job.sources[job.source]) }
      }
    }
    return read(end.position - start)
  }

  private func startSifting(_ job: CleaningJob) {
    if job.groups.isEmpty {
      job.groups = CleaningChoice.groups(
        job.sources.filter { $0.base < job.mapEnd }, limit: job.settings.segmentBytes)
    }
    job.group = -1
    nextGroup(job)
  }

  // MARK: Sifting

  private func sift(_ job: CleaningJob, _ maxBytes: Int64) throws(Stop) -> CleanStep {
    guard job.group < job.groups.count else {
      // After all groups: older values of the tombstones that this round has passed are gone now.
      wait(for: CleanerOrder(.finish(end: job.mapEnd), of: job.store), job, then: .end)
      return CleanStep(progress: .waiting)
    }
    let group = job.groups[job.group]
    guard job.source < group.count else { return try finish(group, job) }
    if job.rewriter == nil, group.count > 1 { try startWriting(group, job) }
    let segment = group[job.source]
    let start = job.place.position
    let clock = max(shared.time.wallMilliseconds, job.store.state.withLock { $0.lastAppendTime })
    let rewriter = job.rewriter
    let end = try scan(job, segment, maxBytes) { facts, _, stored in
      self.sift(facts, stored, clock: clock, job, into: rewriter)
    }
    if end.isStopped {
      // Something must change: begin the group again, and write this time.
      try startWriting(group, job)
      return read(end.position - start)
    }
    let written = try write { () throws(DiskError) in
      let bytes = try rewriter?.flush() ?? 0
      if rewriter?.isSyncDue == true { try rewriter?.sync() }
      return bytes
    }
    if end.position >= segment.size {
      job.source += 1
      if job.source < group.count { job.begin(group[job.source]) }
    }
    var step = read(end.position - start)
    step.bytesWritten = written
    shared.cleaning.update { $0.bytesWritten += written }
    return step
  }

  /// False when a segment that was to stay as it is must change after all.
  private func sift(
    _ facts: BatchFacts, _ stored: SharedBytes, clock: Int64, _ job: CleaningJob,
    into rewriter: SegmentRewriter?
  ) -> Bool {
    guard let batch = CleaningJob.Batch(facts, stored) else { return true }
    let fate = job.judge(batch, stored, clock: clock, &sieve, breakages)
    guard let rewriter else {
      switch fate {
      case .stays, .vanishes: return true
      case .emptied, .shrinks: return false
      }
    }
    switch fate {
    case .stays(let until):
      rewriter.keep(facts, stored)
      if let until { rewriter.noteTombstones(until: until) }
    case .vanishes, .emptied(keepsProducer: false):
      rewriter.drop(batch.frame)
    case .emptied(keepsProducer: true):
      rewriter.replace(
        batch.frame,
        with: BatchSieve.empty(
          base: facts.base, lastOffsetDelta: batch.header.lastOffsetDelta, leaderEpoch: facts.epoch,
          producer: batch.header))
    case .shrinks(let copy, let until):
      rewriter.replace(batch.frame, with: copy)
      if let until { rewriter.noteTombstones(until: until) }
    }
    return true
  }

  /// Begins the group's new file, and the group itself.
  private func startWriting(_ group: [Segment], _ job: CleaningJob) throws(Stop) {
    let needed = group.reduce(0) { $0 + $1.size }
    let generation = group.reduce(0) { max($0, $1.generation) } + 1
    let base = group[0].base
    let (made, free) = try write { () throws(DiskError) -> (SegmentRewriter?, Int64) in
      let free = try shared.disk.space().free
      // Compaction makes room in the end, so it may use part of the reserve (R57).
      guard free - needed >= shared.configuration.reserveBytes / 2 else { return (nil, free) }
      return (
        try SegmentRewriter(shared: shared, store: job.store, base: base, generation: generation), free
      )
    }
    guard let made else {
      throw .abandoned("no \(needed) bytes on the disk (\(free) are free), or the topic goes")
    }
    job.rewriter = made
    job.source = 0
    job.countAgain()
    job.begin(group[0])
  }

  private func finish(_ group: [Segment], _ job: CleaningJob) throws(Stop) -> CleanStep {
    guard let rewriter = job.rewriter else {
      // Nothing of the segment was due after all: it is not looked at again for that.
      if let segment = group.first, segment.tombstonesUntil != .min, segment.tombstonesUntil <= job.now {
        wait(for: CleanerOrder(.noTombstones(segment), of: job.store), job, then: .sift)
        return CleanStep(progress: .waiting)
      }
      nextGroup(job)
      return CleanStep(progress: .working)
    }
    let (bytes, isThere) = try write { () throws(DiskError) -> (Int, Bool) in
      rewriter.complete()
      let bytes = try rewriter.flush()
      try rewriter.sync()
      return (bytes, try rewriter.publish())
    }
    guard isThere else { throw .abandoned("the topic was deleted") }
    let result = rewriter.result
    guard result.end == group.last?.end || breakages.contains(.compactLeavesHoles) else {
      throw .abandoned("the new segment ends at \(result.end)")
    }
    shared.cleaning.update { statistics in
      statistics.bytesWritten += bytes
      statistics.recordsDropped += job.dropped
      statistics.tombstonesDropped += job.droppedTombstones
    }
    job.countAgain()
    wait(for: CleanerOrder(.install(sources: group, result: result), of: job.store), job, then: .sift)
    return CleanStep(progress: .waiting, bytesWritten: bytes)
  }

  // MARK: Files

  /// Goes on in a segment, verifying everything on the way.
  private func scan(
    _ job: CleaningJob, _ segment: Segment, _ most: Int64, _ take: (BatchFacts, Int64, SharedBytes) -> Bool
  ) throws(Stop) -> SegmentScan.End {
    let end: SegmentScan.End
    do throws(DiskError) {
      let file = try shared.files.file(LogPaths.segment(job.store.key, segment))
      end = try SegmentScan(file: file, key: job.store.key, verifyPayload: true).batches(
        from: job.place.position, to: segment.size, offset: job.place.nextOffset, epoch: job.place.epoch,
        most: most, take: take)
    } catch {
      if error.kind == .tooManyFiles { throw .abandoned("\(error)") }
      throw .damaged(segment, "\(error)")
    }
    if let flaw = end.flaw { throw .damaged(segment, "\(flaw)") }
    if end.position >= segment.size, end.nextOffset != segment.end {
      throw .damaged(segment, "it ends at offset \(end.nextOffset) instead of \(segment.end)")
    }
    job.place = end
    job.place.isStopped = false
    return end
  }

  private func write<R>(_ body: () throws(DiskError) -> R) throws(Stop) -> R {
    do throws(DiskError) { return try body() } catch {
      switch error.kind {
      case .noSpace, .tooManyFiles: throw .abandoned("\(error)")
      case .notFound, .exists, .io, .permission, .locked: throw .failed(error)
      }
    }
  }

  private func read(_ bytes: Int64) -> CleanStep {
    shared.cleaning.update { $0.bytesRead += Int(bytes) }
    return CleanStep(progress: .working, bytesRead: Int(bytes))
  }

  // MARK: Ends

  private func end(_ job: CleaningJob, _ why: Stop) throws(LogError) -> CleanStep {
    // An order that is still open would be settled after its file is gone.
    if case .waiting(let order, _, _) = phase, order.isDone == nil {
      return CleanStep(progress: .waiting)
    }
    if isInstalled == false { job.rewriter?.discard() }
    phase = .idle
    shared.cleaning.update { $0.abandoned += 1 }
    var step = CleanStep(progress: .idle)
    let key = job.store.key
    switch why {
    case .abandoned(let what): step.abandoned = (key, what)
    case .failed(let error):
      let isDeleted = job.store.state.withLock { $0.isDeleted }
      guard !isDeleted else { return step }
      throw .offline(error)
    case .damaged(let segment, let what): step.damage = condemn(job.store, segment, what)
    }
    return step
  }

  /// The last order has put the new segment into the table.
  private var isInstalled: Bool {
    guard case .waiting(let order, _, _) = phase, case .install = order.kind else { return false }
    return order.isDone == true
  }

  /// Takes the partition offline, unless retention took the segment out of the table first.
  private func condemn(
    _ store: PartitionStore, _ segment: Segment, _ why: String
  ) -> (key: TopicPartition, why: String)? {
    let text = "segment \(segment.base): \(why)"
    let isNew = store.state.withLock { state -> Bool in
      guard !state.isDeleted, state.segments.contains(where: { $0.isSameFile(as: segment) }) else {
        return false
      }
      if state.corruption == nil { state.corruption = text }
      return true
    }
    return isNew ? (store.key, text) : nil
  }
}

extension LogDirectory {
  /// One bounded piece of compaction: reads about `maxBytes` of segments. One thread at a time, any I/O
  /// thread; blocks. Throws when the directory has gone offline, because of it or before.
  package func cleanStep(maxBytes: Int) throws(LogError) -> CleanStep {
    if case .offline(let error) = state { throw error }
    do throws(LogError) { return try cleaner.step(maxBytes: maxBytes) } catch {
      shared.takeOffline(error)
      throw error
    }
  }

  package var cleanerStatistics: CleanerStatistics.Snapshot { shared.cleaning.snapshot }
}
