import Synchronization

/// The running supervisors of a client: whoever is dropped without `close` still ends before the
/// event loops do. Any thread.
final class TaskRoster: Sendable {
  private struct State {
    var next: UInt64 = 0
    var running: [UInt64: Task<Void, Never>] = [:]
  }

  private let state = Mutex(State())

  func start(_ body: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
    state.withLock { state in
      let id = state.next
      state.next += 1
      // It leaves the roster at its end; the lock makes that come after it was entered.
      let task = Task {
        await body()
        self.state.withLock { $0.running[id] = nil }
      }
      state.running[id] = task
      return task
    }
  }

  /// Cancels all and waits for their ends.
  func end() async {
    let tasks = state.withLock { Array($0.running.values) }
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }
}
