import SkeinCore
internal import Synchronization

/// A clock that moves only when told to. Threading: any thread.
package final class SimulatedTime: TimeSource {
  private struct State {
    var monotonic: Int64
    var wall: Int64
  }
  private let state: Mutex<State>

  /// - Parameter wallMilliseconds: the time of day at the start.
  package init(wallMilliseconds: Int64 = 1_700_000_000_000) {
    state = Mutex(State(monotonic: 1_000_000_000, wall: wallMilliseconds))
  }

  package var monotonicNanoseconds: Int64 { state.withLock { $0.monotonic } }
  package var wallMilliseconds: Int64 { state.withLock { $0.wall } }

  /// Lets both clocks run on.
  package func advance(milliseconds: Int64) {
    state.withLock { state in
      state.monotonic += milliseconds * 1_000_000
      state.wall += milliseconds
    }
  }

  /// Sets the wall clock without any time passing (R60).
  package func jump(milliseconds: Int64) { state.withLock { $0.wall += milliseconds } }
}
