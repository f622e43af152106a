import SkeinCore

/// How batches end otherwise: by time, or with the whole producer.
extension ProducerMachine {
  /// Wakes paused lanes whose time has come and gives up batches past their delivery deadline.
  /// A batch that was never sent fails alone; one that may have been applied fails the producer.
  mutating func tick(now: Int64) -> [Completion] {
    var completions: [Completion] = []
    wake(now: now)
    for index in lanes.indices {
      guard failure == nil, let head = lanes[index].queue.first, head.deadline <= now else { continue }
      completions += expire(index, now: now)
    }
    return completions
  }

  /// Opens the lanes whose pause is over.
  mutating func wake(now: Int64) {
    guard let due = nextWake, due <= now else { return }
    nextWake = nil
    for index in lanes.indices {
      guard case .paused(let until) = lanes[index].state else { continue }
      if until <= now {
        lanes[index].state = .open
        markReady(index)
      } else {
        nextWake = min(nextWake ?? .max, until)
      }
    }
  }

  mutating func expire(_ index: Int, now: Int64) -> [Completion] {
    let name = "\(lanes[index].topic)/\(lanes[index].partition)"
    let hasDoubt = (0..<lanes[index].queue.count).contains {
      lanes[index].queue[$0].isUncertain || lanes[index].queue[$0].attempt.isInFlight
    }
    guard !hasDoubt else {
      return fail(
        SkeinError(
          .deadlineExceeded,
          "\(name): no answer within the delivery deadline; the records may or may not be stored. The producer stops, because going on could duplicate or reorder. Check the broker, then open a new producer.",
          outcome: .unknown))
    }
    for at in 0..<lanes[index].queue.count where lanes[index].queue[at].deadline <= now {
      lanes[index].queue[at].attempt = .failed(
        SkeinError(
          .deadlineExceeded,
          "\(name): not sent within the delivery deadline; nothing was stored. Check the broker's load and health, then send again.",
          outcome: .definite))
    }
    return settle(index, now: now)
  }

  /// Terminal: everything queued fails, with the outcome that is true of each batch.
  mutating func fail(_ error: SkeinError) -> [Completion] {
    guard failure == nil else { return [] }
    failure = error
    var completions: [Completion] = []
    for index in lanes.indices {
      for batch in lanes[index].queue.drain() {
        var own = error
        let mayExist = batch.isUncertain || batch.attempt.isInFlight
        own.outcome = mayExist ? .unknown : .definite
        if case .failed(let reason) = batch.attempt, !mayExist { own = reason }
        completions.append(completion(index, batch, .failure(own)))
      }
      lanes[index].sent = 0
      lanes[index].inFlight = 0
    }
    outstanding = 0
    requests.removeAll()
    return completions
  }

  func completion(
    _ lane: Int, _ batch: OutboundBatch, _ result: Result<BatchAcknowledgement, SkeinError>
  ) -> Completion {
    Completion(
      topic: lanes[lane].topic, partition: lanes[lane].partition, batch: batch, result: result)
  }
}
