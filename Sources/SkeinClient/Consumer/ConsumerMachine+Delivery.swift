import SkeinCore
import Wire

/// Records: from the stream into the queues of the partitions, from there to the application.
extension ConsumerMachine {
  // MARK: From the broker

  /// - Throws: the broker broke the contract.
  mutating func arrived(_ read: ReadBatches, bytes: SharedBytes, now: Int64) throws(SkeinError) {
    let total = CreditWindow.Amount(
      records: Int64(clamping: read.totalMessages), bytes: Int64(clamping: read.totalBytes))
    guard let charge = credit.charge(to: total), read.nextOffset < Offset.limit.rawValue,
      read.nextOffset >= 0, read.baseOffset >= 0, read.fromOffset >= 0
    else {
      throw SkeinError(
        .internalError, "the broker's totals or offsets on the stream of the group make no sense")
    }
    defer { grantCredit() }
    guard let at = index[ConsumedPartition(read.topic, read.partition)], slots[at]?.phase == .active,
      slots[at]?.isFailed == false, slots[at]?.needsSeek == false, read.seek >= slots[at]?.seek ?? 0
    else { return }
    let begin = read.fromOffset == 0 ? read.baseOffset : read.fromOffset
    if slots[at]?.received == nil {
      // Now it is known where the group stands.
      let place = ReadPosition(offset: begin)
      slots[at]?.received = place
      slots[at]?.position = place
    }
    // What comes of a paused partition is asked for again when it goes on.
    guard slots[at]?.isPaused == false, let from = slots[at]?.received?.offset, read.nextOffset > from else {
      return
    }
    slots[at]?.received = ReadPosition(offset: read.nextOffset, leaderEpoch: read.leaderEpoch)
    credit.hold(charge)
    slots[at]?.queue.append(
      .chunk(
        ReceivedChunk(
          topic: read.topic, partition: read.partition, bytes: bytes, visible: max(from, begin)..<Int64.max,
          highWatermark: read.highWatermark, nextOffset: read.nextOffset, leaderEpoch: read.leaderEpoch,
          charge: charge)))
    list(at)
  }

  /// One partition stopped.
  mutating func failed(_ partition: ConsumedPartition, _ error: SkeinError, now: Int64) {
    guard let at = index[partition], slots[at]?.phase == .active, slots[at]?.isFailed == false else { return }
    // A topic that is deleted is taken from the member in a moment, by the group.
    if error.isRetriable || Self.deletions.contains(error.reason) {
      mayRetry = true
      slots[at]?.retryAt = now + max(Self.failureRetry, error.retryAfter?.nanosecondsClamped ?? 0)
      return
    }
    slots[at]?.isFailed = true
    if error.reason == Reason.offsetOutOfRange.name, let place = policyPosition(error) {
      effects.append(.reset(partition))
      return move(at, to: place)
    }
    slots[at]?.queue.append(.failure(error))
    list(at)
  }

  private static let deletions: Set<String> = [Reason.topicNotFound.name, Reason.partitionNotFound.name]

  private func policyPosition(_ error: SkeinError) -> ReadPosition? {
    let place: String? =
      switch options.outOfRange {
      case .fail: nil
      case .earliest: error.metadata["log_start_offset"]
      case .latest: error.metadata["high_watermark"]
      }
    guard let place, let offset = Int64(place), offset >= 0 else { return nil }
    return ReadPosition(offset: offset)
  }

  /// Asks again for what failed in passing. Where it is not known yet where to begin, the broker asks by itself.
  mutating func retryFailed(now: Int64) {
    for at in slots(where: { ($0.retryAt ?? .max) <= now }) {
      slots[at]?.retryAt = nil
      if let received = slots[at]?.received, slots[at]?.isPaused == false { sendSeek(at, to: received) }
    }
    mayRetry = slots.contains { $0?.retryAt != nil }
  }

  // MARK: To the application

  enum Taken: Sendable {
    case chunk(ConsumerLease, ReceivedChunk)
    case failure(SkeinError)
    case nothing
    case end
  }

  /// The next chunk of any partition, for the caller alone until `finish`.
  /// - Parameter isLoop: a loop asks, which may never come back.
  mutating func take(isLoop: Bool, now: Int64) -> Taken {
    guard !isClosing, phase != .over else { return failure.map { .failure($0) } ?? .end }
    if expireIfSilent(now: now) { return .nothing }
    while let at = ready.popFirst() {
      guard slots[at]?.isListed == true else { continue }
      slots[at]?.isListed = false
      guard slots[at]?.isDeliverable == true, let item = slots[at]?.queue.popFirst(),
        let grant = slots[at]?.grant, let generation = slots[at]?.generation
      else { continue }
      switch item {
      case .failure(let error):
        list(at)
        return .failure(error)
      case .chunk(let chunk):
        lastLease += 1
        slots[at]?.lease = lastLease
        slots[at]?.isLoopLease = isLoop
        slots[at]?.outstanding += 1
        hasAdvanced = true
        credit.taken(chunk.charge)
        grantCredit()
        return .chunk(
          ConsumerLease(slot: at, grant: grant, generation: generation, id: lastLease), chunk)
      }
    }
    return .nothing
  }

  /// The holder of a lease goes on: what is processed, and what it takes now. Returns whether it may; if not, what
  /// is left of the chunk is not its own any more, and it ends the lease.
  mutating func step(
    _ lease: ConsumerLease, processed: ReadPosition?, taking next: ReadPosition?, now: Int64
  ) -> Bool {
    guard slots[lease.slot]?.lease == lease.id, slots[lease.slot]?.generation == lease.generation else {
      return false
    }
    if let processed {
      slots[lease.slot]?.finished(below: processed)
      hasAdvanced = true
    }
    guard !expireIfSilent(now: now) else { return false }
    guard slots[lease.slot]?.phase == .active, slots[lease.slot]?.isCut == false else { return false }
    if let next {
      slots[lease.slot]?.position = next
      if options.acknowledges, slots[lease.slot]?.isLoopLease == true {
        slots[lease.slot]?.pending.append(
          .init(offset: next.offset - 1, epoch: next.leaderEpoch, isDone: false))
      }
    }
    return true
  }

  /// The holder of a lease cannot read what comes next, and was told so: it goes on at `next`. What is skipped counts as
  /// processed with what comes after it.
  mutating func skip(_ lease: ConsumerLease, processed: ReadPosition?, to next: ReadPosition, now: Int64)
    -> Bool
  {
    guard step(lease, processed: processed, taking: nil, now: now) else { return false }
    slots[lease.slot]?.position = next
    return true
  }

  /// The application is done with this record (with the batch of which it is the last), in whatever order.
  /// Returns whether the partition is the member's.
  mutating func acknowledge(_ partition: ConsumedPartition, _ offset: Int64, now: Int64) -> Bool {
    guard !expireIfSilent(now: now), let at = index[partition] else { return false }
    slots[at]?.completed(offset)
    hasAdvanced = true
    list(at)
    return true
  }

  /// The holder is done with its chunk, or gave it up.
  /// - Parameter end: all of it is processed, and so is what lies before this offset.
  mutating func finish(_ lease: ConsumerLease, upTo end: ReadPosition?, now: Int64) {
    guard slots[lease.slot]?.lease == lease.id else { return }
    if let end, slots[lease.slot]?.generation == lease.generation {
      slots[lease.slot]?.finished(below: end)
      slots[lease.slot]?.position = end
    }
    endLease(lease.slot)
    list(lease.slot)
    if slots[lease.slot]?.phase == .revoking { release(now: now) }
  }

  /// The loop was left in the middle of a chunk: what it had not processed, from `from` on, comes again.
  mutating func abandon(_ lease: ConsumerLease, _ chunk: ReceivedChunk, from: Int64, now: Int64) {
    guard slots[lease.slot]?.lease == lease.id else { return }
    let from = max(chunk.visible.lowerBound, from)
    let isPresent =
      slots[lease.slot]?.generation == lease.generation && slots[lease.slot]?.phase == .active
    if isPresent, slots[lease.slot]?.isCut == true {
      // Paused meanwhile: it goes on, or went on, after what was taken. That is too far if something of it was in hand.
      guard slots[lease.slot]?.position?.offset != from else { return finish(lease, upTo: nil, now: now) }
      dropQueue(lease.slot)
      let place = ReadPosition(offset: from)
      slots[lease.slot]?.position = place
      slots[lease.slot]?.received = place
      if slots[lease.slot]?.isPaused == false { sendSeek(lease.slot, to: place) }
      grantCredit()
    } else if isPresent, from < chunk.nextOffset {
      slots[lease.slot]?.position = ReadPosition(offset: from)
      slots[lease.slot]?.queue.prepend(
        .chunk(
          ReceivedChunk(
            topic: chunk.topic, partition: chunk.partition, bytes: chunk.bytes, visible: from..<Int64.max,
            highWatermark: chunk.highWatermark, nextOffset: chunk.nextOffset, leaderEpoch: chunk.leaderEpoch,
            // Given back when it was taken.
            charge: .init())))
    }
    finish(lease, upTo: nil, now: now)
  }

  mutating func endLease(_ at: Int) {
    slots[at]?.lease = nil
    slots[at]?.isCut = false
    slots[at]?.outstanding -= 1
  }

  // MARK: Concurrent handlers within a partition

  /// A record goes to a handler; false: the lease is over.
  mutating func dispatch(_ lease: ConsumerLease, offset: Int64, epoch: Int32, now: Int64) -> RecordTicket? {
    guard
      step(lease, processed: nil, taking: ReadPosition(offset: offset + 1, leaderEpoch: epoch), now: now)
    else { return nil }
    slots[lease.slot]?.pending.append(.init(offset: offset, epoch: epoch, isDone: false))
    slots[lease.slot]?.outstanding += 1
    return RecordTicket(
      slot: lease.slot, grant: lease.grant, generation: lease.generation, offset: offset)
  }

  /// Everything of the chunk was dispatched; what lies behind its last record counts when all before it is done.
  mutating func dispatched(_ lease: ConsumerLease, upTo end: ReadPosition, now: Int64) {
    guard slots[lease.slot]?.lease == lease.id else { return }
    if slots[lease.slot]?.generation == lease.generation {
      slots[lease.slot]?.finished(below: end)
      slots[lease.slot]?.position = end
    }
    finish(lease, upTo: nil, now: now)
  }

  /// Whether the handler may begin.
  mutating func mayBegin(_ ticket: RecordTicket, now: Int64) -> Bool {
    guard !isClosing, !expireIfSilent(now: now), slot(ticket.slot, ticket.grant) != nil else { return false }
    return slots[ticket.slot]?.phase == .active && slots[ticket.slot]?.generation == ticket.generation
  }

  /// The handler has returned, or never began.
  mutating func ended(_ ticket: RecordTicket, isDone: Bool, now: Int64) {
    guard slot(ticket.slot, ticket.grant) != nil else { return }
    slots[ticket.slot]?.outstanding -= 1
    if isDone, slots[ticket.slot]?.generation == ticket.generation {
      slots[ticket.slot]?.completed(ticket.offset)
      hasAdvanced = true
      list(ticket.slot)
    }
    if slots[ticket.slot]?.phase == .revoking { release(now: now) }
  }
}
