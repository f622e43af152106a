import Dispatch
import Foundation
import Synchronization

/// Signals that end long commands cleanly.
enum Signals {
  /// A closed pipe then shows as a failed write, not as death.
  static func ignoreBrokenPipe() { signal(SIGPIPE, SIG_IGN) }

  /// What a cancelled command may take to end in order.
  static let grace = 10

  /// Runs `body` and cancels it at the first SIGINT or SIGTERM; a second one, or `grace` seconds,
  /// end the process.
  /// - Returns: whether a signal came.
  static func cancelling(_ body: @escaping @Sendable () async throws -> Void) async throws -> Bool {
    let task = Task { try await body() }
    let flag = Flag()
    let sources = [SIGINT, SIGTERM].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        if flag.set() { exit(Failure.failed) }
        task.cancel()
        DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(grace)) {
          Console.note("skein: not done \(grace) s after the signal; giving up")
          exit(Failure.failed)
        }
      }
      source.resume()
      return source
    }
    defer { for source in sources { source.cancel() } }
    do {
      try await task.value
    } catch  where flag.isSet {
      // Whatever ended it was the cancellation's doing.
      if error is BrokenPipe { throw error }
    }
    return flag.isSet
  }

  private final class Flag: Sendable {
    private let state = Mutex(false)
    var isSet: Bool { state.withLock { $0 } }
    /// Sets it and returns whether it was set before.
    func set() -> Bool {
      state.withLock { state in
        defer { state = true }
        return state
      }
    }
  }
}
