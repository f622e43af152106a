import SkeinCore
import Transport

/// What outlives a stream: told of every end, asked whether to go on.
protocol SupervisedStream: StreamDelegate {
  /// Nothing more is wanted of a stream.
  var isOver: Bool { get }
  /// A stream ended (nil: with OK). Called between streams, from the supervisor's task.
  func streamEnded(_ error: SkeinError?)
  /// The supervisor gives up; nothing follows.
  func gaveUp(_ error: SkeinError)
}

/// Keeps one stream open: connects, runs it, and after its end waits and starts again.
struct StreamSupervisor: Sendable {
  let connector: Connector
  let path: String
  /// How long to go on without a working stream, in nanoseconds; nil is for ever (somebody else
  /// holds a deadline).
  let patience: @Sendable () -> Int64?
  var clock = SystemClock()
  var random = SystemRandom()

  /// Returns when the stream is no longer wanted, the task is cancelled, or it gave up.
  func run(_ stream: any SupervisedStream) async {
    var backoff = Backoff()
    var lastWorked = clock.monotonicNanoseconds
    while !Task.isCancelled, !stream.isOver {
      let (error, worked) = await once(stream)
      stream.streamEnded(error)
      guard !Task.isCancelled, !stream.isOver else { return }
      let now = clock.monotonicNanoseconds
      if worked {
        backoff.reset()
        lastWorked = now
      }
      if let error, !error.isRetriable { return stream.gaveUp(error) }
      if let patience = patience(), now - lastWorked > patience {
        return stream.gaveUp(
          error ?? SkeinError(.unreachable, "the broker ended the stream again and again"))
      }
      let asked = error?.retryAfter?.nanosecondsClamped ?? 0
      let wait = max(backoff.next(random), min(asked, 60_000_000_000))
      try? await Task.sleep(nanoseconds: UInt64(wait))
    }
  }

  private func once(_ stream: any SupervisedStream) async -> (error: SkeinError?, worked: Bool) {
    do throws(SkeinError) {
      let connection = try await connector.connect()
      let end = await StreamSession.run(stream, path: path, on: connection)
      await connection.close()
      return end
    } catch { return (error, false) }
  }
}
