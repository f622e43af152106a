internal import SkeinCore
internal import Synchronization

/// The slow duties of a directory: free space, retention, rolling by time, forgetting producers.
/// Threading: the write-behind thread.
struct Maintenance {
  /// A wall clock that differs from the monotonic one by more than this pauses retention, in
  /// milliseconds (R60).
  static let clockTolerance: Int64 = 5 * 60 * 1000
  /// How long retention pauses after a jump before it believes the new time.
  static let clockPause: Int64 = 60 * 60 * 1000
  /// Durable batches are written behind at least this often, in milliseconds.
  static let roundInterval: Int64 = 10_000

  private let shared: DirectoryShared
  private let partitions: PartitionMap
  private let backlog: Backlog
  /// Wall minus monotonic time that retention believes.
  private var clockDifference: Int64
  /// Monotonic; nil while the clock is steady.
  private var pausedSince: Int64?
  private var lastRound: Int64

  init(shared: DirectoryShared, partitions: PartitionMap, backlog: Backlog) {
    self.shared = shared
    self.partitions = partitions
    self.backlog = backlog
    self.lastRound = shared.time.monotonicNanoseconds / 1_000_000
    self.clockDifference = shared.time.wallMilliseconds - lastRound
  }

  /// Retention waits because the wall clock has jumped: an alarm (R60).
  var isRetentionPaused: Bool { pausedSince != nil }

  /// True when entries were submitted.
  mutating func step(segments: SegmentFiles) throws(LogError) -> Bool {
    try checkSpace(segments)
    let monotonic = shared.time.monotonicNanoseconds / 1_000_000
    let wall = shared.time.wallMilliseconds
    watchClock(monotonic: monotonic, wall: wall)
    shared.retentionPaused.store(isRetentionPaused, ordering: .relaxed)
    var submitted: [PendingEntry] = []
    for log in partitions.all {
      try roll(log.store, now: wall, segments)
      if !isRetentionPaused, let entry = retention(of: log, now: wall) { submitted.append(entry) }
      expireProducers(log.store, now: wall)
    }
    shared.queue.submit(submitted)
    if monotonic - lastRound >= Self.roundInterval {
      lastRound = monotonic
      if backlog.hasDirty {
        backlog.request(recycle: false)
      } else if segments.hasUnsynced {
        // Traffic has stopped: close the files, and leave the next start nothing to replay.
        backlog.request(recycle: true)
      }
    }
    return !submitted.isEmpty
  }

  // MARK: Space (R57)

  private func checkSpace(_ segments: SegmentFiles) throws(LogError) {
    let free = try onDisk { () throws(DiskError) in try shared.disk.space().free }
    let reserve = shared.configuration.reserveBytes
    if free < reserve { shared.setFull(true) }
    // Some slack, so that the condition does not flap.
    guard free >= reserve + reserve / 8 else { return }
    shared.setFull(false)
    try segments.keepEmergencySpace()
  }

  // MARK: Time (R60)

  private mutating func watchClock(monotonic: Int64, wall: Int64) {
    let difference = wall - monotonic
    guard abs(difference - clockDifference) > Self.clockTolerance else {
      // Small drift is followed.
      if pausedSince != nil { pausedSince = nil }
      clockDifference = difference
      return
    }
    if let since = pausedSince, monotonic - since >= Self.clockPause {
      clockDifference = difference
      pausedSince = nil
    } else if pausedSince == nil {
      pausedSince = monotonic
    }
  }

  private func roll(_ store: PartitionStore, now: Int64, _ segments: SegmentFiles) throws(LogError) {
    let old = store.state.withLock { state -> Segment? in
      guard let settings = state.settings, let active = state.segments.last, !active.isSealed,
        active.size > 0, now - active.firstAppendTime >= settings.segmentMilliseconds
      else { return nil }
      return active
    }
    guard let old else { return }
    try onDisk { () throws(DiskError) in try segments.seal(old, of: store) }
    try segments.boundDescriptors()
  }

  private func expireProducers(_ store: PartitionStore, now: Int64) {
    let count = store.state.withLock { $0.producers.isEmpty ? 0 : $0.producers.expire(now: now) }
    if count > 0 { shared.producerCount.subtract(count, ordering: .relaxed) }
  }

  // MARK: Retention

  /// The log start that retention wants, as an entry for the journal: it must be durable before any
  /// segment goes (R34). Only whole sealed segments count (R35).
  private func retention(of log: PartitionLog, now: Int64) -> PendingEntry? {
    let (start, end) = log.store.state.withLock { state -> (Int64?, Int64) in
      guard let settings = state.settings, settings.isRetained, state.corruption == nil else {
        return (nil, 0)
      }
      return (Self.wantedStart(state, settings, now: now), state.durableEnd)
    }
    guard let start, start > log.store.image.retentionTarget,
      shared.queue.reserve(PartitionLog.controlEntryBytes)
    else { return nil }
    log.store.image.retentionTarget = start
    return PendingEntry(
      kind: .logStart(start), log: log, end: end, reservedBytes: PartitionLog.controlEntryBytes)
  }

  private static func wantedStart(
    _ state: borrowing PartitionStore.State, _ settings: PartitionSettings, now: Int64
  ) -> Int64? {
    var size = state.segments.reduce(0) { $0 + $1.size }
    var start: Int64?
    for segment in state.segments {
      guard segment.isSealed else { break }
      let tooOld = settings.retentionMilliseconds.map { now - segment.lastAppendTime > $0 } ?? false
      let tooMuch = settings.retentionBytes.map { size - segment.size >= $0 } ?? false
      guard tooOld || tooMuch else { break }
      start = segment.end
      size -= segment.size
    }
    guard let start, start > state.logStart else { return nil }
    return start
  }
}
