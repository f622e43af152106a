import SkeinCore
import Synchronization

/// Counts partitions that have nothing of the old generation in flight any more. Threading: any thread.
///
/// Closures in a struct: as the bare value of a Mutex they would be wrapped again by every access.
final class FenceTicket: Sendable {
  private struct State {
    var left: Int
    var outcome: Result<Void, Fault>?
    var waiter: CheckedContinuation<Result<Void, Fault>, Never>?
  }
  private let state: Mutex<State>

  /// - Parameter partitions: how many `pass` calls end the wait.
  init(partitions: Int) {
    state = Mutex(State(left: partitions, outcome: partitions == 0 ? .success(()) : nil))
  }

  /// One partition is durable up to its cut.
  func pass() {
    end { state in
      state.left -= 1
      return state.left == 0 ? .success(()) : nil
    }
  }

  /// It cannot be any more, or has waited too long.
  func fail(_ fault: Fault) { end { _ in .failure(fault) } }

  /// Passed or failed.
  var isOver: Bool { state.withLock { $0.outcome != nil } }

  private func end(_ step: (inout State) -> Result<Void, Fault>?) {
    let woken = state.withLock {
      state -> (CheckedContinuation<Result<Void, Fault>, Never>, Result<Void, Fault>)? in
      guard state.outcome == nil, let outcome = step(&state) else { return nil }
      state.outcome = outcome
      let waiter = state.waiter
      state.waiter = nil
      return waiter.map { ($0, outcome) }
    }
    if let (waiter, outcome) = woken { waiter.resume(returning: outcome) }
  }

  /// Waits for every partition; once.
  func wait() async throws(Fault) {
    let outcome = await withCheckedContinuation { continuation in
      let known = state.withLock { state -> Result<Void, Fault>? in
        if state.outcome == nil { state.waiter = continuation }
        return state.outcome
      }
      if let known { continuation.resume(returning: known) }
    }
    try outcome.get()
  }
}
