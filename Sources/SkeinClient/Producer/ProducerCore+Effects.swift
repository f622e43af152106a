import SkeinCore

/// From the machine's completions to waiting callers.
extension ProducerCore {
  private static let staleReasons: Set<String> = [
    Reason.topicNotFound.name, Reason.partitionNotFound.name,
  ]

  /// Books what is over and collects whom to wake. Under the lock.
  static func effects(_ state: inout State, _ over: [ProducerMachine.Completion]) -> Effects {
    var effects = Effects(completions: over)
    if !over.isEmpty { effects.now = SystemClock().monotonicNanoseconds }
    for completion in over {
      state.buffer.release(completion.batch.chargedBytes)
      if case .failure(let error) = completion.result {
        if completion.batch.ticket.unattended > 0 { state.unreported = state.unreported ?? error }
        if staleReasons.contains(error.reason) { state.staleTopics.insert(completion.topic) }
      }
      for at in state.flushes.indices where completion.batch.number <= state.flushes[at].number {
        state.flushes[at].remaining -= 1
      }
    }
    if !state.machine.outdated.isEmpty || state.buffer.changing > 0 { changeTopics(&state) }
    abandonOpen(&state, &effects)
    if !state.flushes.isEmpty { settleFlushes(&state, &effects) }
    if !state.spaceWaiters.isEmpty {
      let isFree = state.buffer.used * 8 <= state.buffer.configuration.bufferBytes * 7
      if isFree || state.isClosed || state.machine.failure != nil {
        effects.space = state.spaceWaiters
        state.spaceWaiters.removeAll(keepingCapacity: true)
      }
    }
    if !state.staleTopics.isEmpty, let describer = state.describer {
      state.describer = nil
      effects.describer = describer
    }
    if !state.isPumpDue, let pump = state.pump {
      state.isPumpDue = true
      effects.pump = pump
    }
    return effects
  }

  /// Topics whose partitioner the broker no longer knows are held and described again; those that are known
  /// anew, with every answer in, get their records placed anew.
  private static func changeTopics(_ state: inout State) {
    for lane in state.machine.outdated {
      let topic = state.buffer.laneTopics[lane]
      state.buffer.beginChange(topic, machine: &state.machine)
      state.staleTopics.insert(state.buffer.topics[topic].name)
    }
    state.machine.outdated.removeAll(keepingCapacity: true)
    guard state.machine.failure == nil else { return }
    let due = state.buffer.dueChanges(state.machine)
    for topic in due { state.buffer.repartition(topic, clock: SystemClock(), machine: &state.machine) }
    guard !due.isEmpty, !state.flushes.isEmpty else { return }
    // Their records lie in other batches, or are staged, now: whoever waits, waits for all that is there.
    state.buffer.closeStaged()
    let staged = state.buffer.hasStaged ? state.buffer.lastChunk : 0
    for at in state.flushes.indices { state.flushes[at].staged = staged }
    if staged == 0 { restart(&state) { _ in true } }
  }

  /// The records of these flushes lie in batches, all of them: they wait for the batches.
  private static func restart(_ state: inout State, where isMeant: (Flush) -> Bool) {
    state.buffer.sealAll(machine: &state.machine)
    for at in state.flushes.indices where isMeant(state.flushes[at]) {
      state.flushes[at].staged = 0
      state.flushes[at].number = state.buffer.lastNumber
      state.flushes[at].remaining = state.machine.outstanding
    }
  }

  /// Batches that could not be sealed, and everything open once the producer has failed.
  private static func abandonOpen(_ state: inout State, _ effects: inout Effects) {
    var lost = state.buffer.spoiled.map { ($0.lane, $0.batch, $0.error) }
    for (_, batch, _) in lost { state.buffer.release(batch.charged) }
    state.buffer.spoiled.removeAll()
    if var failure = state.machine.failure {
      failure.outcome = .definite
      lost += state.buffer.abandon().map { ($0.lane, $0.batch, failure) }
      state.buffer.unplaced += state.buffer.abandonStaged().map { ($0.topic, $0.chunk, failure) }
    }
    for (topic, chunk, error) in state.buffer.unplaced {
      state.buffer.release(chunk.charged)
      let (name, ticket) = (state.buffer.topics[topic].name, chunk.takeTicket())
      if ticket.unattended > 0 { state.unreported = state.unreported ?? error }
      if staleReasons.contains(error.reason) { state.staleTopics.insert(name) }
      // It never had a partition.
      effects.abandoned.append((name, -1, ticket, error))
    }
    state.buffer.unplaced.removeAll()
    for (lane, batch, error) in lost {
      let owner = state.machine.lanes[lane]
      let ticket = batch.takeTicket()
      if ticket.unattended > 0 { state.unreported = state.unreported ?? error }
      effects.abandoned.append((owner.topic, owner.partition, ticket, error))
    }
  }

  private static func settleFlushes(_ state: inout State, _ effects: inout Effects) {
    if state.flushes.contains(where: { $0.staged > 0 }) {
      let oldest = state.buffer.oldestStaged ?? .max
      if state.flushes.contains(where: { $0.staged > 0 && $0.staged < oldest }) {
        restart(&state) { $0.staged > 0 && $0.staged < oldest }
      }
    }
    var waiting: [Flush] = []
    for flush in state.flushes {
      if flush.remaining > 0 || flush.staged > 0, state.machine.failure == nil {
        waiting.append(flush)
      } else {
        effects.flushed.append((flush.continuation, state.machine.failure ?? state.unreported))
        state.unreported = nil
      }
    }
    state.flushes = waiting
  }

  /// Wakes everybody concerned. Outside the lock.
  func perform(_ effects: Effects) {
    for completion in effects.completions { deliver(completion, now: effects.now) }
    for (topic, partition, ticket, error) in effects.abandoned {
      for (_, waiter) in ticket.waiters { waiter.resume(.failure(error)) }
      deliveryHandler?(
        BatchDelivery(
          topic: topic, partition: partition, recordCount: ticket.waiters.count + ticket.unattended,
          tags: ticket.tags, latency: .zero, result: .failure(error)))
    }
    for continuation in effects.space { continuation.resume() }
    for (continuation, error) in effects.flushed { continuation.resume(returning: error) }
    effects.describer?.resume()
    effects.pump?()
  }

  private func deliver(_ completion: ProducerMachine.Completion, now: Int64) {
    let batch = completion.batch
    let ticket = batch.ticket
    let nanoseconds = max(0, now - ticket.openedAt)
    let latency = Duration.nanoseconds(nanoseconds)
    ticket.metrics?.ended(batch, completion.result, nanoseconds: nanoseconds)
    if let deliveryHandler {
      deliveryHandler(
        BatchDelivery(
          topic: completion.topic, partition: completion.partition, recordCount: Int(batch.recordCount),
          tags: ticket.tags, latency: latency, result: completion.result))
    }
    for (index, waiter) in ticket.waiters {
      waiter.resume(
        completion.result.map { acknowledgement in
          RecordMetadata(
            topic: completion.topic, partition: completion.partition,
            offset: acknowledgement.baseOffset.map { $0 + Int64(index) }, timestamp: 0,
            timings: acknowledgement.timings, latency: latency)
        })
    }
  }
}
