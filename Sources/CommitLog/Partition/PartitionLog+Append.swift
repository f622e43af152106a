package import RecordFormat
package import SkeinCore
internal import Synchronization

/// What became of a batch that was not refused.
package enum AppendOutcome: Sendable {
  /// Offsets were given; submit the entry now. Acknowledge when `highWatermark` passed `last`.
  case appended(base: Offset, last: Offset, entry: PendingEntry)
  /// A retry of a remembered batch: its original offsets (P4). Acknowledge only once
  /// `isCommitted`, that is when `highWatermark` passed `last`.
  case duplicate(base: Offset, last: Offset, isCommitted: Bool)
  /// A retry of a batch that is too old to remember: success without an offset (P5).
  case duplicateOutsideWindow
}

extension PartitionLog {
  /// Timestamps may be this far ahead of the broker's clock, in milliseconds (R60).
  package static let timestampSlack: Int64 = 3_600_000

  /// Appends one whole v2 batch in memory. Home executor.
  ///
  /// The checks come in the order of the write path: the duplicate window (P4), the partitioner's
  /// generation, the sequences (P3, P5-P7), the timestamps (R60), then room in queue, memory and on
  /// disk (R48, R57). Whatever is refused has changed nothing.
  /// - Parameters:
  ///   - batch: passed `BatchCheck.produce`, owned by the caller alone: base offset and leader
  ///     epoch are stamped into it. The log keeps it as it is, without a copy.
  ///   - header: of that batch.
  ///   - generation: the partitioner generation that the batch names; 0 = not checked.
  ///   - currentGeneration: the topic's.
  ///   - isFenced: what names the current generation is refused too: another one is on its way.
  package func append(
    _ batch: SharedBytes, header: BatchHeader, generation: UInt32 = 0, currentGeneration: UInt32 = 0,
    isFenced: Bool = false
  ) throws(Fault) -> AppendOutcome {
    if shared.isOffline { throw shared.offlineFault }
    let stamp = ProducerStamp(header)
    let now = shared.time.wallMilliseconds
    let judged = store.state.withLock { state in
      Self.judge(state, stamp, now: now, durableEnd: inFlightBound)
    }
    switch judged {
    case .notServed(let fault): throw fault(key)
    case .duplicate(let found):
      let last = Offset(found.end - 1)
      return .duplicate(
        base: Offset(found.base), last: last, isCommitted: found.end <= highWatermark.rawValue)
    case .verdict(let verdict):
      // Appended long ago, under whatever generation: sending it elsewhere would duplicate it.
      if verdict == .olderThanWindow { return .duplicateOutsideWindow }
      try checkGeneration(generation, current: currentGeneration, isFenced: isFenced)
      if let stamp { try accept(verdict, stamp) }
    }
    try checkTimestamps(header, now: now)
    try reserveProducer(stamp)
    let bytes = batch.count + Frame.size
    try reserveRoom(bytes)
    guard let placed = place(batch, header, stamp, generation: generation, now: now) else {
      shared.queue.release(bytes: bytes, entries: 1)
      throw Self.deletedFault(key)
    }
    return placed
  }

  // MARK: Checks

  private enum Judgement {
    case notServed(@Sendable (TopicPartition) -> Fault)
    case duplicate(ProducerTable.Batch)
    case verdict(ProducerTable.Verdict)
  }

  /// P7 counts batches that wait for the disk; nothing of a memory topic does.
  private var inFlightBound: Int64 { settings.durability == .memory ? .max : durableEnd.rawValue }

  private static func judge(
    _ state: borrowing PartitionStore.State, _ stamp: ProducerStamp?, now: Int64, durableEnd: Int64
  ) -> Judgement {
    if state.isDeleted { return .notServed(Self.deletedFault) }
    if let why = state.corruption { return .notServed { Self.corruptFault($0, why) } }
    guard let stamp else { return .verdict(.accept) }
    if let found = state.producers.duplicate(of: stamp) { return .duplicate(found) }
    return .verdict(state.producers.check(stamp, now: max(now, state.lastAppendTime), durableEnd: durableEnd))
  }

  private func checkGeneration(_ generation: UInt32, current: UInt32, isFenced: Bool) throws(Fault) {
    guard generation != 0, generation != current || isFenced else { return }
    if generation == current {
      throw Fault(
        .swapInProgress,
        "the topic is getting another partitioner than generation \(generation) right now; send the batch again after 5 ms",
        metadata: ["generation": String(current)], retryAfterMilliseconds: 5)
    }
    if generation < current {
      throw Fault(
        .partitionerChanged,
        "the batch was partitioned under generation \(generation), the topic is at \(current); refresh the topic and partition again",
        metadata: ["generation": String(current)])
    }
    throw Fault(
      .overloaded,
      "the batch names partitioner generation \(generation), this broker still knows \(current); try again shortly",
      metadata: ["generation": String(current)], retryAfterMilliseconds: 100)
  }

  private func accept(_ verdict: ProducerTable.Verdict, _ stamp: ProducerStamp) throws(Fault) {
    let who = "producer \(stamp.id) epoch \(stamp.epoch)"
    switch verdict {
    case .accept, .olderThanWindow: return
    case .fenced(let current):
      throw Fault(
        .producerFenced, "\(who) was replaced by epoch \(current)", metadata: ["epoch": String(current)])
    case .outOfOrder(let expected):
      throw Fault(
        .outOfOrderSequence,
        "\(who) sent sequence \(stamp.firstSequence), the partition expects \(expected); resend what is missing first",
        metadata: ["sequence": String(stamp.firstSequence), "expected_sequence": String(expected)])
    case .unknownProducer:
      throw Fault(
        .unknownProducer,
        "\(who) sent sequence \(stamp.firstSequence), but this partition has no state for it; open the stream again for a new producer id"
      )
    case .tooManyInFlight:
      throw Fault(
        .tooManyInFlight,
        "\(who) has \(ProducerTable.window) batches in flight to this partition; wait for their acknowledgement",
        metadata: ["limit": String(ProducerTable.window)], retryAfterMilliseconds: 10)
    }
  }

  private func checkTimestamps(_ header: BatchHeader, now: Int64) throws(Fault) {
    let latest = now + Self.timestampSlack
    guard header.baseTimestamp < 0 || header.maxTimestamp < 0 || header.maxTimestamp > latest else { return }
    let wrong = header.baseTimestamp < 0 ? header.baseTimestamp : header.maxTimestamp
    throw Fault(
      .timestampInvalid,
      "timestamp \(wrong) is not between 0 and \(latest), the broker's clock plus one hour, in milliseconds since 1970",
      metadata: ["timestamp_ms": String(wrong), "limit": String(latest)])
  }

  /// Charges a producer that is new here to the directory's cap (P9).
  private func reserveProducer(_ stamp: ProducerStamp?) throws(Fault) {
    guard let stamp, !store.state.withLock({ $0.producers.contains(stamp.id) }) else { return }
    let limit = shared.configuration.maxProducers
    guard shared.producerCount.load(ordering: .relaxed) < limit else {
      throw Fault(
        .overloaded,
        "the log directory remembers \(limit) producers, as many as it may; reuse producers instead of opening one for each message",
        metadata: ["limit": String(limit)], retryAfterMilliseconds: 1000)
    }
  }

  /// Takes room for `bytes` in the submit queue, or throws the designed refusal.
  func reserveRoom(_ bytes: Int) throws(Fault) {
    if shared.isFull {
      throw Fault(
        .diskFull,
        "less than \(shared.configuration.reserveBytes) bytes are free in the log directory; free space or shorten retention",
        metadata: ["limit": String(shared.configuration.reserveBytes)], retryAfterMilliseconds: 1000)
    }
    let largest = shared.largestEntry.load(ordering: .relaxed)
    if bytes > largest {
      throw LogError.entryTooLarge(size: Int64(bytes), limit: Int64(largest)).fault
    }
    let unwritten = shared.unwrittenBytes.load(ordering: .relaxed)
    guard unwritten <= shared.configuration.maxUnwrittenBytes, shared.queue.reserve(bytes) else {
      throw Fault(
        .overloaded, "the log's queue is full: \(shared.queue.bytes) bytes wait for the disk",
        metadata: ["limit": String(shared.queue.maxBytes)], retryAfterMilliseconds: 50)
    }
  }

  // MARK: Placing

  /// Nil when the topic was deleted since the checks.
  private func place(
    _ batch: SharedBytes, _ header: BatchHeader, _ stamp: ProducerStamp?, generation: UInt32, now: Int64
  ) -> AppendOutcome? {
    let base = logEnd
    let end = base.advanced(by: Int64(header.lastOffsetDelta) + 1)
    batch.withUnsafeMutableBytesBeforeSharing {
      BatchStamp.baseOffset(base.rawValue, leaderEpoch: leaderEpoch.rawValue, in: $0)
    }
    let bytes = batch.count + Frame.size
    let frame = store.state.withLock { state -> SharedBytes? in
      if state.isDeleted { return nil }
      // The broker's clock never goes back within a partition (R60).
      state.lastAppendTime = max(state.lastAppendTime, now)
      let frame = StoredFrame.make(
        key: key, header: header, base: base.rawValue, epoch: leaderEpoch.rawValue,
        appendTime: state.lastAppendTime, generation: generation)
      let facts = BatchFacts(
        base: base.rawValue, end: end.rawValue, epoch: leaderEpoch.rawValue,
        appendTime: state.lastAppendTime, maxTimestamp: header.maxTimestamp, producer: stamp,
        byteCount: batch.count + frame.count)
      state.tail.append(TailEntry(facts: facts, frame: frame, batch: batch))
      state.epochs.note(epoch: leaderEpoch.rawValue, start: base.rawValue)
      if let stamp {
        let before = state.producers.count
        state.producers.record(stamp, base: base.rawValue, appendTime: state.lastAppendTime)
        shared.producerCount.add(state.producers.count - before, ordering: .relaxed)
      }
      // Under the mutex, so that a deletion takes off exactly what was put on.
      shared.tailBytes.add(bytes, ordering: .relaxed)
      shared.unwrittenBytes.add(bytes, ordering: .relaxed)
      return frame
    }
    guard let frame else { return nil }
    logEnd = end
    updateHighWatermark()
    let entry = PendingEntry(
      kind: .batch(frame: frame, batch: batch), log: self, end: end.rawValue, reservedBytes: bytes)
    return .appended(base: base, last: Offset(end.rawValue - 1), entry: entry)
  }
}

extension PartitionLog {
  static func deletedFault(_ key: TopicPartition) -> Fault {
    Fault(.topicNotFound, "the topic of partition \(key.partition) was deleted")
  }

  static func corruptFault(_ key: TopicPartition, _ why: String) -> Fault {
    Fault(
      .dataCorrupt,
      "partition \(key.partition) is offline: \(why); an operator must accept the loss or restore it",
      metadata: ["partition": String(key.partition)])
  }
}

extension ProducerStamp {
  init?(_ header: BatchHeader) {
    guard header.producerID >= 0 else { return nil }
    self.init(
      id: header.producerID, epoch: header.producerEpoch, firstSequence: header.baseSequence,
      lastSequence: header.lastSequence)
  }
}
