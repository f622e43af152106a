import NIOCore
import Synchronization

/// Carries a call to a cancellation handler, whichever of the two comes first. Any thread.
final class CallBox: Sendable {
  private struct State {
    var call: Call?
    var isCancelled = false
  }
  private let state = Mutex(State())

  func put(_ call: Call) {
    let cancelNow = state.withLock { state in
      state.call = call
      return state.isCancelled
    }
    if cancelNow { cancel() }
  }

  func cancel() {
    let call = state.withLock { state in
      state.isCancelled = true
      return state.call
    }
    guard let call else { return }
    call.eventLoop.execute { call.cancel() }
  }
}
