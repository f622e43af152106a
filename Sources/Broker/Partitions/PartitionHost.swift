import CommitLog
import NIOCore
import RecordFormat
import SkeinCore

/// One served partition: its log, the appends that wait for durability, and the readers that wait
/// for records. Confined to the event loop of its `PartitionShard`.
final class PartitionHost {
  let log: PartitionLog
  /// Appends not yet durable, in the order of their end offsets.
  private var pending = CircularBuffer<PendingAppend>()
  private var waiters: [ReadWaiter] = []
  /// The newest partitioner generation of its topic that an append has told. Requests carry what their own
  /// loop knew: one that comes late, from a stream that was lost, must not pass by an older generation after
  /// another was refused by a newer one, for the sender has placed those records anew.
  private var generation: UInt32 = 0
  /// The log's end when that became known: nothing older stands at or behind it.
  private var generationStart = Offset.zero
  /// The generation that is not taken any more, because another one is on its way; 0 = none.
  private var fenced: UInt32 = 0
  /// Told when the log is durable up to there.
  private var durabilityWaiters: [(end: Offset, ticket: FenceTicket)] = []
  /// Made with the first traffic: idle partitions, of which there are many, have none.
  private var meter: TrafficMeter?

  private struct PendingAppend {
    let end: Offset
    let base: Offset
    let duplicate: Bool
    let appendedAt: Int64
    let request: AppendRequest
  }

  init(log: PartitionLog) { self.log = log }

  var key: TopicPartition { log.key }

  // MARK: Appending

  /// Appends one batch. Answers at once what can be answered at once; the rest waits for the sync.
  /// - Returns: what must be submitted to the log directory, if anything was appended.
  func append(
    _ request: AppendRequest, at now: Int64, answers: inout ShardOutbox
  ) -> PendingEntry? {
    do throws(Fault) {
      if request.currentGeneration > generation { raise(to: request.currentGeneration) }
      let outcome = try log.append(
        request.batch, header: request.header, generation: request.generation,
        currentGeneration: generation, isFenced: fenced != 0 && fenced == generation)
      let appendedAt = now
      switch outcome {
      case .appended(let base, let last, let entry):
        let end = last.advanced(by: 1)
        traffic(at: now).countIn(
          records: Int(request.header.recordCount), bytes: request.batch.count, at: now)
        if request.waitsForCommit && log.highWatermark < end {
          pending.append(
            PendingAppend(
              end: end, base: base, duplicate: false, appendedAt: appendedAt, request: request))
        } else {
          answers.add(request, .committed(base: base, duplicate: false, synced: 0), appendedAt)
        }
        return entry
      case .duplicate(let base, let last, _):
        let end = last.advanced(by: 1)
        if log.highWatermark >= end {  // P4: only once the original is committed
          answers.add(request, .committed(base: base, duplicate: true, synced: 0), appendedAt)
        } else {
          insert(
            PendingAppend(
              end: end, base: base, duplicate: true, appendedAt: appendedAt, request: request))
        }
        return nil
      case .duplicateOutsideWindow:
        answers.add(request, .committed(base: nil, duplicate: true, synced: 0), appendedAt)
        return nil
      }
    } catch {
      answers.add(request, .refused(error), now)
      return nil
    }
  }

  /// A duplicate of a batch that is still in flight goes behind its original.
  private func insert(_ append: PendingAppend) {
    var index = pending.endIndex
    while index > pending.startIndex {
      let before = pending.index(before: index)
      if pending[before].end <= append.end { break }
      index = before
    }
    pending.insert(append, at: index)
  }

  /// More of the log is durable: answers what waited for it and wakes readers.
  func apply(_ advance: DurableAdvance, answers: inout ShardOutbox) {
    log.apply(advance)
    answerCommitted(syncedAt: advance.syncedAt, answers: &answers)
    wakeReaders()
    if !durabilityWaiters.isEmpty { tellDurable() }
  }

  private func answerCommitted(syncedAt: Int64, answers: inout ShardOutbox) {
    let committed = log.highWatermark
    while let first = pending.first, first.end <= committed {
      pending.removeFirst()
      answers.add(
        first.request,
        .committed(
          base: first.base, duplicate: first.duplicate, synced: max(0, syncedAt - first.appendedAt)),
        first.appendedAt)
    }
  }

  /// New settings: what they let through is answered and readable at once.
  func setSettings(_ settings: PartitionSettings, answers: inout ShardOutbox) {
    log.setSettings(settings)
    answerCommitted(syncedAt: 0, answers: &answers)
    wakeReaders()
  }

  /// Fails everything that waits: the directory is offline or the topic was deleted.
  func failAll(_ fault: Fault, answers: inout ShardOutbox) {
    while let first = pending.popFirst() {
      answers.add(first.request, .refused(fault), first.appendedAt)
    }
    let woken = waiters
    waiters = []
    for waiter in woken { waiter.fire() }
    for waiter in durabilityWaiters { waiter.ticket.fail(fault) }
    durabilityWaiters = []
  }

  // MARK: Another partitioner

  /// Takes no more batches of `generation`; `ticket` hears when all that was appended is durable, which is
  /// before any batch of the next generation is taken. Batches with an explicit partition (generation 0) go
  /// on: no partitioner placed them, so none of them can come before an older record of its key.
  /// - Returns: the end of what was appended under it: the cut.
  func fence(_ generation: UInt32, _ ticket: FenceTicket) -> Offset {
    fenced = generation
    if generation > self.generation { raise(to: generation) }
    let cut = log.logEnd
    durabilityWaiters.append((end: cut, ticket: ticket))
    tellDurable()
    return cut
  }

  /// The next generation is committed, or not to be: takes batches of `generation` from now on.
  /// - Returns: where it begins: at a request that was quicker than this call, or here.
  func flip(to generation: UInt32) -> Offset {
    fenced = 0
    if generation > self.generation { raise(to: generation) }
    return generationStart
  }

  private func raise(to generation: UInt32) {
    self.generation = generation
    generationStart = log.logEnd
  }

  private func tellDurable() {
    durabilityWaiters.removeAll { waiter in
      guard log.durableEnd >= waiter.end else { return false }
      waiter.ticket.pass()
      return true
    }
  }

  // MARK: Traffic

  /// The meter of the last minute.
  func traffic(at now: Int64) -> TrafficMeter {
    if let meter { return meter }
    let made = TrafficMeter(now: now)
    meter = made
    return made
  }

  func trafficTotals(at now: Int64) -> TrafficMeter.Totals { meter?.totals(at: now) ?? .init() }

  // MARK: Reading

  /// Calls `waiter` once, when the high watermark passes `offset`; at once if it has already.
  func wait(past offset: Offset, _ waiter: ReadWaiter) {
    guard log.highWatermark <= offset else { return waiter.fire() }
    // Cancelled ones leave when the list grows, so that a client that comes and goes on an idle
    // partition holds a bounded amount.
    if waiters.count >= 16, waiters.count & (waiters.count - 1) == 0 {
      waiters.removeAll { $0.isCancelled }
    }
    waiters.append(waiter)
  }

  func wakeReaders() {
    guard !waiters.isEmpty else { return }
    let woken = waiters
    waiters.removeAll(keepingCapacity: true)
    for waiter in woken { waiter.fire() }
  }
}
