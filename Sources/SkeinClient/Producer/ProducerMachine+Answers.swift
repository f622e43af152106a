import SkeinCore

/// What follows from the broker's answers: acknowledged, to be sent again, refused for good.
extension ProducerMachine {
  /// The broker answered. Returns the lane concerned (nil: an answer to nothing we sent on this
  /// stream) and the batches that are over now.
  mutating func answered(
    _ requestID: UInt64, _ answer: Answer, now: Int64
  ) -> (lane: Int?, completions: [Completion]) {
    guard let index = requests.removeValue(forKey: requestID) else { return (nil, []) }
    lanes[index].inFlight -= 1
    switch answer {
    case .appended(let acknowledgement):
      return (index, appended(requestID, lane: index, acknowledgement, now: now))
    case .refused(let error):
      return (index, refused(requestID, lane: index, error, now: now))
    }
  }

  private mutating func appended(
    _ requestID: UInt64, lane index: Int, _ acknowledgement: BatchAcknowledgement, now: Int64
  ) -> [Completion] {
    let batch: OutboundBatch
    if lanes[index].queue.first?.attempt.requestID == requestID, let head = lanes[index].queue.popFirst() {
      batch = head
      lanes[index].backoff.reset()
      lanes[index].fenceBackoff.reset()
      lanes[index].askedDelay = 0
      if lanes[index].overtaken > 0, !hasUncertain(index) { lanes[index].overtaken = 0 }
    } else if let late = takeBehindUncertain(requestID, lane: index) {
      batch = late
    } else {
      return fail(SkeinError(.internalError, "acknowledgements came out of order for a partition"))
    }
    lanes[index].sent -= 1
    outstanding -= 1
    let done = completion(index, batch, .success(acknowledgement))
    guard case .settling = lanes[index].state else {
      markReady(index)
      return [done]
    }
    return [done] + settleIfQuiet(index, now: now)
  }

  /// A batch was appended though one before it was refused: then that one had been appended by a
  /// sending whose outcome we do not know, and its next sending will find it as a duplicate (P4).
  private mutating func takeBehindUncertain(_ requestID: UInt64, lane index: Int) -> OutboundBatch? {
    guard
      let at = (0..<lanes[index].sent).first(where: {
        lanes[index].queue[$0].attempt.requestID == requestID
      }),
      (0..<at).allSatisfy({
        lanes[index].queue[$0].isUncertain && lanes[index].queue[$0].attempt.isRefusal
      })
    else { return nil }
    lanes[index].overtaken += 1
    return lanes[index].queue.partition { $0.attempt.requestID != requestID }.first
  }

  private mutating func refused(
    _ requestID: UInt64, lane index: Int, _ error: SkeinError, now: Int64
  ) -> [Completion] {
    guard
      let at = (0..<lanes[index].sent).first(where: {
        lanes[index].queue[$0].attempt.requestID == requestID
      })
    else { return [] }
    // What follows a refused batch is refused for the gap it left; that says nothing of its own.
    let followsRefused = (0..<at).contains { lanes[index].queue[$0].attempt.isRefusal }
    let isGap =
      error.reason == Reason.outOfOrderSequence.name || error.reason == Reason.unknownProducer.name
    if followsRefused && isGap {
      lanes[index].queue[at].attempt = .refused
    } else if error.reason == Reason.unknownProducer.name, !lanes[index].queue[at].isUncertain {
      lanes[index].isForgotten = true
      lanes[index].queue[at].attempt = .refused
    } else if error.reason == Reason.partitionerChanged.name {
      guard !lanes[index].queue[at].isUncertain || lanes[index].overtaken == 0 else { return fail(error) }
      // The duplicate window was asked first, and generations only rise: no copy of it can be appended, and so
      // none of what follows it in sequence.
      for behind in at..<lanes[index].queue.count { lanes[index].queue[behind].isUncertain = false }
      lanes[index].queue[at].attempt = .refused
      lanes[index].isHeld = true
      outdated.append(index)
    } else if isGap || error.reason == Reason.producerFenced.name {
      return fail(error)
    } else if error.isRetriable {
      if error.outcome == .unknown { lanes[index].queue[at].isUncertain = true }
      if error.reason == Reason.swapInProgress.name { lanes[index].isFenced = true }
      lanes[index].queue[at].attempt = .refused
      lanes[index].askedDelay = max(
        lanes[index].askedDelay, error.retryAfter?.nanosecondsClamped ?? 0)
    } else if error.outcome == .unknown {
      // Applied or not, nobody knows, and asking again will not tell.
      return fail(error)
    } else {
      lanes[index].queue[at].attempt = .failed(error)
    }
    lanes[index].state = .settling
    return settleIfQuiet(index, now: now)
  }

  private func hasUncertain(_ index: Int) -> Bool {
    (0..<lanes[index].queue.count).contains { lanes[index].queue[$0].isUncertain }
  }

  private mutating func settleIfQuiet(_ index: Int, now: Int64) -> [Completion] {
    lanes[index].inFlight == 0 ? settle(index, now: now) : []
  }

  /// Every answer of the lane is in. Batches refused for good leave; if that (or a broker that
  /// forgot us) leaves a hole in the sequences, the rest is renumbered, which is safe only while
  /// no batch of the lane is uncertain (P10): a late copy of it could land on a renumbered place.
  /// - Parameter now: monotonic nanoseconds; nil when the stream was lost (no back-off needed).
  mutating func settle(_ index: Int, now: Int64?) -> [Completion] {
    let isForgotten = lanes[index].isForgotten
    lanes[index].isForgotten = false
    let base = isForgotten ? 0 : (lanes[index].queue.first?.baseSequence ?? lanes[index].nextSequence)
    let uncertain = hasUncertain(index)
    let gone = lanes[index].queue.partition { batch in
      if case .failed = batch.attempt { return false }
      return true
    }
    var completions: [Completion] = []
    for batch in gone {
      guard case .failed(var error) = batch.attempt else { continue }
      // An earlier sending of it may still be applied.
      if batch.isUncertain { error.outcome = .unknown }
      outstanding -= 1
      completions.append(completion(index, batch, .failure(error)))
    }
    if !gone.isEmpty || isForgotten {
      guard !uncertain else {
        return completions
          + fail(
            SkeinError(
              .outOfOrderSequence,
              "\(lanes[index].topic)/\(lanes[index].partition): a batch was refused while another's outcome is unknown; going on could duplicate records. Open a new producer.",
              outcome: .unknown))
      }
      renumber(index, from: base)
    }
    for at in 0..<lanes[index].queue.count { lanes[index].queue[at].attempt = .waiting }
    lanes[index].sent = 0
    // What is held waits for the topic, not for time.
    let isOnlyHeld = lanes[index].isHeld && !hasUncertain(index)
    guard let now, gone.isEmpty, !isOnlyHeld else {
      lanes[index].state = .open
      markReady(index)
      return completions
    }
    let backoff =
      lanes[index].isFenced ? lanes[index].fenceBackoff.next(random) : lanes[index].backoff.next(random)
    lanes[index].isFenced = false
    let until = now + max(backoff, lanes[index].askedDelay)
    lanes[index].state = .paused(until: until)
    nextWake = min(nextWake ?? .max, until)
    return completions
  }

  private mutating func renumber(_ index: Int, from base: Int32) {
    var sequence = base
    for at in 0..<lanes[index].queue.count {
      if lanes[index].queue[at].baseSequence != sequence {
        lanes[index].queue[at].payload = resequence(lanes[index].queue[at].payload, sequence)
        lanes[index].queue[at].baseSequence = sequence
      }
      sequence = Self.advance(sequence, by: lanes[index].queue[at].recordCount)
    }
    lanes[index].nextSequence = sequence
  }
}
