internal import Synchronization

/// The open asynchronous calls of one loaded plug-in, and what became of the others.
///
/// A call is answered exactly once: by its first completion, while it is open. What comes after its host gave it up is
/// *late*; what comes after a completion is *double*; a number that was never given out is *unknown*. All three change
/// nothing and are counted. Any thread.
package final class CallTable: Sendable {
  package struct Counts: Sendable, Hashable {
    package var completed: UInt64 = 0
    package var late: UInt64 = 0
    package var double: UInt64 = 0
    package var unknown: UInt64 = 0
    /// Statuses that the ABI does not know.
    package var badStatus: UInt64 = 0
    /// Results over `resultLimit`.
    package var tooLong: UInt64 = 0
    package init() {}
  }

  /// Bytes of one result (skein_plugin.h, `complete`).
  package static let resultLimit = 1 << 20
  /// Given-up calls whose completion is still awaited, so that it counts as late; older ones count as unknown.
  private static let rememberedLimit = 4_096

  private struct State {
    var open: [UInt64: Bool] = [:]  // call → cancelled
    var abandoned: Set<UInt64> = []
    var abandonedOrder: [UInt64] = []
    var newest: UInt64 = 0
    var counts = Counts()
  }

  private let state = Mutex(State())

  package init() {}

  package var counts: Counts { state.withLock { $0.counts } }
  package var openCount: Int { state.withLock { $0.open.count } }

  /// - Parameter call: greater than every one before.
  package func begin(_ call: UInt64) {
    state.withLock { state in
      state.open[call] = false
      state.newest = max(state.newest, call)
    }
  }

  /// - Returns: whether the call was open: then it is answered now.
  package func complete(_ call: UInt64, status: Int32, resultLength: Int) -> Bool {
    state.withLock { state in
      if state.open.removeValue(forKey: call) != nil {
        state.counts.completed &+= 1
        if !(0...6).contains(status) { state.counts.badStatus &+= 1 }
        if resultLength > Self.resultLimit { state.counts.tooLong &+= 1 }
        return true
      }
      if state.abandoned.remove(call) != nil {
        state.counts.late &+= 1
      } else if call == 0 || call > state.newest {
        state.counts.unknown &+= 1
      } else {
        state.counts.double &+= 1
      }
      return false
    }
  }

  /// Nobody waits any more, but the plug-in may still complete: that is what `cancel` asks it for.
  package func cancel(_ call: UInt64) -> Bool {
    state.withLock { state in
      guard state.open[call] != nil else { return false }
      state.open[call] = true
      return true
    }
  }

  package func isCancelled(_ call: UInt64) -> Bool {
    state.withLock { $0.open[call] ?? true }
  }

  /// The host answered by itself; a completion from now on is late.
  package func abandon(_ call: UInt64) {
    state.withLock { state in
      guard state.open.removeValue(forKey: call) != nil else { return }
      state.abandoned.insert(call)
      state.abandonedOrder.append(call)
      if state.abandonedOrder.count > Self.rememberedLimit {
        state.abandoned.remove(state.abandonedOrder.removeFirst())
      }
    }
  }
}
