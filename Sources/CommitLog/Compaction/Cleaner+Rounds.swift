internal import RecordFormat
internal import SkeinCore
internal import Synchronization

/// The two halves of a round: the keys of what is new go into the map, then segments are read again and written
/// without what a newer record of the map supersedes.
extension Cleaner {
  // MARK: Mapping

  func map(_ job: CleaningJob, _ maxBytes: Int64) throws(Stop) -> CleanStep {
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

  func sift(_ job: CleaningJob, _ maxBytes: Int64) throws(Stop) -> CleanStep {
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
}
