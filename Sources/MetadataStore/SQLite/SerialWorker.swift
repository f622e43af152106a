import NIOPosix
import Synchronization

/// One thread, and a state that only it touches: blocking work off the event loops, in the order of
/// submission, behind async calls.
///
/// `@unchecked Sendable`: `state` is read and written by jobs of `pool` only, which has one thread.
package final class SerialWorker<State>: @unchecked Sendable {
  private let pool = NIOThreadPool(numberOfThreads: 1)
  private var state: State?
  private let queued = Atomic<Int>(0)
  private let limit: Int
  /// What its refusals call it.
  private let subject: String

  /// - Parameter limit: calls of `perform` that may wait at once; more are refused with `.overloaded`.
  package init(limit: Int, subject: String = "the metadata store") {
    self.limit = limit
    self.subject = subject
    pool.start()
  }

  /// Sets the state that later calls work on; on the worker's thread.
  package func start(_ make: @escaping @Sendable () throws(MetadataError) -> State)
    async throws(MetadataError)
  {
    let result: Result<Void, MetadataError> = await withCheckedContinuation { continuation in
      submit { worker in
        guard let worker else { return continuation.resume(returning: .failure(.closed)) }
        do throws(MetadataError) {
          worker.state = try make()
          continuation.resume(returning: .success(()))
        } catch { continuation.resume(returning: .failure(error)) }
      }
    }
    try result.get()
  }

  /// Runs `body` on the state and answers with what it returns or throws. A call that was accepted
  /// runs even if its task is cancelled.
  package func perform<R: Sendable>(
    _ body: @escaping @Sendable (State) throws(MetadataError) -> R
  ) async throws(MetadataError) -> R {
    let position = queued.add(1, ordering: .relaxed).newValue
    defer { queued.subtract(1, ordering: .relaxed) }
    guard position <= limit else {
      throw MetadataError(.overloaded, "\(limit) calls already wait for \(subject)")
    }
    let result: Result<R, MetadataError> = await withCheckedContinuation { continuation in
      enqueue { state in
        guard let state else { return continuation.resume(returning: .failure(.closed)) }
        do throws(MetadataError) {
          continuation.resume(returning: .success(try body(state)))
        } catch { continuation.resume(returning: .failure(error)) }
      }
    }
    return try result.get()
  }

  /// Runs `body` later on the worker's thread, with nil once the worker is closed.
  package func enqueue(_ body: @escaping @Sendable (State?) -> Void) {
    submit { body($0?.state) }
  }

  /// Runs `last` on the state, drops it and ends the thread. Jobs that come later see nil.
  package func close(_ last: @escaping @Sendable (State) -> Void) async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      submit { worker in
        if let state = worker?.state { last(state) }
        worker?.state = nil
        continuation.resume()
      }
    }
    try? await pool.shutdownGracefully()
  }

  private func submit(_ job: @escaping @Sendable (SerialWorker?) -> Void) {
    pool.submit { job($0 == .active ? self : nil) }
  }
}
