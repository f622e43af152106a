import SkeinCore
import Synchronization

/// Questions and answers about topics whose partitioner the broker has; see `ProducerBuffer+Staging.swift`.
extension ProducerCore {
  /// What to ask the broker next about records of topics whose partitioner it has; applies what is answered on the
  /// way.
  /// - Parameter now: monotonic nanoseconds; tests run ahead of the clock.
  func nextQuestion(now: Int64 = SystemClock().monotonicNanoseconds) -> AssignmentQuestion? {
    placeDue(now: now)
    let question = state.withLock { state -> AssignmentQuestion? in
      guard state.machine.isConnected, state.machine.failure == nil else { return nil }
      return state.buffer.nextQuestion(now: now)
    }
    // A chunk that was closed just now may hold nothing to ask about.
    if question == nil { placeDue(now: now) }
    return question
  }

  /// The broker said where records go.
  func assigned(_ answers: [AssignmentAnswer]) {
    let now = clock.monotonicNanoseconds
    perform(
      state.withLock { state in
        for answer in answers where state.machine.failure == nil {
          let outdated = state.buffer.answered(answer, now: now, random: state.machine.random)
          guard let outdated else { continue }
          state.buffer.beginChange(outdated, machine: &state.machine)
          state.staleTopics.insert(state.buffer.topics[outdated].name)
        }
        return Self.effects(&state, [])
      })
    placeDue(now: now)
  }

  /// Applies the answers that are not left to the application.
  private func placeDue(now: Int64) {
    while let topic = state.withLock({ state in
      state.machine.isConnected && state.machine.failure == nil ? state.buffer.topicToPlace(now: now) : nil
    }) { place(topic) }
  }

  /// Puts the records whose answers are there into their batches. Encoding them takes the lock only before and after
  /// each chunk; while one thread does so for a topic, another one that comes has nothing to do.
  /// - Parameter placed: a chunk that the caller has placed already.
  func place(_ topic: Int, after placed: ChunkPlacing? = nil) {
    var placed = placed
    repeat {
      let (next, effects) = state.withLock { state -> (ChunkPlacing?, Effects) in
        if let placed { state.buffer.endPlacing(placed, clock: clock, machine: &state.machine) }
        let flushed = state.flushes.lazy.filter { $0.staged > 0 }.map(\.staged).min() ?? .max
        let next =
          state.machine.failure == nil
          ? state.buffer.beginPlacing(topic, flushed: flushed, clock: clock, machine: &state.machine) : nil
        return (next, Self.effects(&state, []))
      }
      perform(effects)
      next?.run()
      placed = next
    } while placed != nil
  }
}
