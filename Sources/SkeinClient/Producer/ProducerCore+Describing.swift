import SkeinCore
import Synchronization

/// Topics that the broker says are not as this producer knows them: they are described again at once, because
/// their records wait for it.
extension ProducerCore {
  /// Suspends until there is one, or the task is cancelled.
  func waitForStaleTopics() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if !state.staleTopics.isEmpty || Task.isCancelled { return true }
          state.describer = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    } onCancel: {
      let describer = state.withLock { state in
        defer { state.describer = nil }
        return state.describer
      }
      describer?.resume()
    }
  }

  /// Topics to describe again, with their index; each is named once per refusal.
  func takeStaleTopics() -> [(index: Int, name: String)] {
    state.withLock { state in
      guard !state.staleTopics.isEmpty else { return [] }
      defer { state.staleTopics.removeAll() }
      return state.buffer.topics.enumerated().filter { state.staleTopics.contains($1.name) }
        .map { ($0, $1.name) }
    }
  }

  /// The broker described the topic again. If it is another one now, its records are placed anew as soon as
  /// everything sent is answered.
  func refresh(_ topic: Int, _ change: TopicChange) {
    perform(
      state.withLock { state in
        let known = state.buffer.topics[topic]
        if known.generation != change.generation || known.lanes.count < Int(change.partitions) {
          state.buffer.beginChange(topic, machine: &state.machine)
          state.buffer.topics[topic].change = change
        } else if known.isChanging, known.change == nil {
          // The broker refused our generation and describes the same one: it does not know it everywhere yet.
          state.staleTopics.insert(known.name)
        }
        return Self.effects(&state, [])
      })
  }

  /// The topic could not be described. Gone for good: what is queued goes out and is refused; else it is
  /// asked about again.
  func refreshFailed(_ topic: Int, isGone: Bool) {
    perform(
      state.withLock { state in
        if isGone {
          state.buffer.cancelChange(topic, machine: &state.machine)
        } else {
          state.staleTopics.insert(state.buffer.topics[topic].name)
        }
        return Self.effects(&state, [])
      })
  }
}
