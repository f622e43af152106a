import SkeinCore

/// From the machine's completions to waiting callers.
extension ProducerCore {
  private static let staleReasons: Set<String> = [
    Reason.partitionerChanged.name, Reason.topicNotFound.name, Reason.partitionNotFound.name,
  ]

  /// Books what is over and collects whom to wake. Under the lock.
  static func effects(_ state: inout State, _ over: [ProducerMachine.Completion]) -> Effects {
    var effects = Effects(completions: over)
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
    abandonOpen(&state, &effects)
    if !state.flushes.isEmpty { settleFlushes(&state, &effects) }
    if !state.spaceWaiters.isEmpty {
      let isFree = state.buffer.used * 8 <= state.buffer.configuration.bufferBytes * 7
      if isFree || state.isClosed || state.machine.failure != nil {
        effects.space = state.spaceWaiters
        state.spaceWaiters.removeAll(keepingCapacity: true)
      }
    }
    if !state.isPumpDue, let pump = state.pump {
      state.isPumpDue = true
      effects.pump = pump
    }
    return effects
  }

  /// Batches that could not be sealed, and everything open once the producer has failed.
  private static func abandonOpen(_ state: inout State, _ effects: inout Effects) {
    var lost = state.buffer.spoiled.map { ($0.lane, $0.batch, $0.error) }
    for (_, batch, _) in lost { state.buffer.release(batch.charged) }
    state.buffer.spoiled.removeAll()
    if var failure = state.machine.failure {
      failure.outcome = .definite
      lost += state.buffer.abandon().map { ($0.lane, $0.batch, failure) }
    }
    for (lane, batch, error) in lost {
      let owner = state.machine.lanes[lane]
      let ticket = batch.takeTicket()
      if ticket.unattended > 0 { state.unreported = state.unreported ?? error }
      effects.abandoned.append((owner.topic, owner.partition, ticket, error))
    }
  }

  private static func settleFlushes(_ state: inout State, _ effects: inout Effects) {
    var waiting: [Flush] = []
    for flush in state.flushes {
      if flush.remaining > 0, state.machine.failure == nil {
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
    for completion in effects.completions { deliver(completion) }
    for (topic, partition, ticket, error) in effects.abandoned {
      for (_, continuation) in ticket.waiters { continuation.resume(throwing: error) }
      deliveryHandler?(
        BatchDelivery(
          topic: topic, partition: partition, recordCount: ticket.waiters.count + ticket.unattended,
          tags: ticket.tags, result: .failure(error)))
    }
    for continuation in effects.space { continuation.resume() }
    for (continuation, error) in effects.flushed { continuation.resume(returning: error) }
    effects.pump?()
  }

  private func deliver(_ completion: ProducerMachine.Completion) {
    let ticket = completion.batch.ticket
    if let deliveryHandler {
      deliveryHandler(
        BatchDelivery(
          topic: completion.topic, partition: completion.partition,
          recordCount: Int(completion.batch.recordCount), tags: ticket.tags,
          result: completion.result))
    }
    for (index, continuation) in ticket.waiters {
      switch completion.result {
      case .success(let acknowledgement):
        continuation.resume(
          returning: RecordMetadata(
            topic: completion.topic, partition: completion.partition,
            offset: acknowledgement.baseOffset.map { $0 + Int64(index) }, timestamp: 0))
      case .failure(let error): continuation.resume(throwing: error)
      }
    }
  }
}
