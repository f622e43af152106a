import SkeinCore
import Synchronization

/// Questions and answers about topics whose partitioner the broker has; see `ProducerBuffer+Staging.swift`.
extension ProducerCore {
  /// What to ask the broker next about records of topics whose partitioner it has.
  /// - Parameter now: monotonic nanoseconds; tests run ahead of the clock.
  func nextQuestion(now: Int64 = SystemClock().monotonicNanoseconds) -> AssignmentQuestion? {
    state.withLock { state in
      guard state.machine.isConnected, state.machine.failure == nil else { return nil }
      return state.buffer.nextQuestion(now: now, clock: clock, machine: &state.machine)
    }
  }

  /// The broker said where records go.
  func assigned(_ answers: [AssignmentAnswer]) {
    let now = clock.monotonicNanoseconds
    perform(
      state.withLock { state in
        for answer in answers where state.machine.failure == nil {
          let outdated = state.buffer.answered(
            answer, now: now, random: state.machine.random, clock: clock, machine: &state.machine)
          guard let outdated else { continue }
          state.buffer.beginChange(outdated, machine: &state.machine)
          state.staleTopics.insert(state.buffer.topics[outdated].name)
        }
        return Self.effects(&state, [])
      })
  }
}
