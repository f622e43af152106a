import SkeinCore
import Synchronization

/// What a stream has brought and its consumer has not taken yet. Any thread; one consumer at a time.
final class Mailbox<Element: Sendable>: Sendable {
  private struct State {
    var queue = FIFO<Element>()
    var failure: SkeinError?
    var isOver = false
    var reader: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())

  var isOver: Bool { state.withLock { $0.isOver } }

  /// The next element, as soon as there is one; nil after the end. What came before the end is given out first, then
  /// the end's error, once.
  func next() async throws(SkeinError) -> Element? {
    while true {
      if Task.isCancelled { throw SkeinError(wrapping: CancellationError()) }
      let (element, failure, isOver) = state.withLock { state in
        let element = state.queue.popFirst()
        let failure = element == nil ? state.failure : nil
        if failure != nil { state.failure = nil }
        return (element, failure, state.isOver)
      }
      if let element { return element }
      if let failure { throw failure }
      if isOver { return nil }
      await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          let isReady = state.withLock { state in
            if !state.queue.isEmpty || state.isOver || Task.isCancelled { return true }
            state.reader = continuation
            return false
          }
          if isReady { continuation.resume() }
        }
      } onCancel: {
        wake()
      }
    }
  }

  /// Changes what waits, and wakes the consumer.
  func update<Result: Sendable>(_ body: (inout FIFO<Element>) -> Result) -> Result {
    let result = state.withLock { body(&$0.queue) }
    wake()
    return result
  }

  /// Only the first call counts.
  func end(_ error: SkeinError?) {
    state.withLock { state in
      if !state.isOver { state.failure = error }
      state.isOver = true
    }
    wake()
  }

  private func wake() {
    let reader = state.withLock { state in
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume()
  }
}
