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
  enum Phase {
    case idle
    /// The write-behind thread settles `order`; then on with `next`.
    case waiting(CleanerOrder, CleaningJob, next: Next)
    case mapping(CleaningJob)
    case sifting(CleaningJob)
  }

  enum Next { case map, sift, end }

  /// Why a round ends before its time.
  enum Stop: Error {
    /// Deleted, changed or damaged meanwhile, or no room on the disk: another day.
    case abandoned(String)
    case damaged(Segment, String)
    /// The disk failed under the new file (R56).
    case failed(DiskError)
  }

  // What follows is changed by this file and `Cleaner+Rounds.swift` only.
  let shared: DirectoryShared
  private let partitions: PartitionMap
  private let backlog: Backlog
  // `nonisolated(unsafe)`: one thread at a time, by contract of `LogDirectory.cleanStep`.
  nonisolated(unsafe) var phase = Phase.idle
  // `nonisolated(unsafe)`: the cleaner's thread only, as above.
  nonisolated(unsafe) var sieve = BatchSieve()
  // `nonisolated(unsafe)`: the cleaner's thread only, as above.
  /// Its last round ended with a full map: it goes on before others begin.
  nonisolated(unsafe) private var unfinished: TopicPartition?

  var breakages: Set<LogBreakage> { shared.configuration.breakages }

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

  func wait(for order: CleanerOrder, _ job: CleaningJob, then next: Next) {
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

  func nextGroup(_ job: CleaningJob) {
    job.group += 1
    job.source = 0
    if job.group < job.groups.count { job.begin(job.groups[job.group][0]) }
    phase = .sifting(job)
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
    case .damaged(let segment, let what): step.damage = job.store.condemn(segment, what)
    }
    return step
  }

  /// The last order has put the new segment into the table.
  private var isInstalled: Bool {
    guard case .waiting(let order, _, _) = phase, case .install = order.kind else { return false }
    return order.isDone == true
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
