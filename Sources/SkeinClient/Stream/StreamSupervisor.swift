import SkeinCore
import Transport

/// What follows the end of a stream.
enum StreamContinuation {
  /// Something else is asked for: another stream at once, on the same connection if it still can.
  case atOnce
  /// The stream broke, or the broker ended it.
  case afterBackoff
  /// The broker ended it with an error that another stream cures, though the same request would not: after a back-off.
  case anew
}

/// What outlives a stream: told of every end, asked whether to go on.
protocol SupervisedStream: StreamDelegate {
  /// Nothing more is wanted of a stream.
  var isOver: Bool { get }
  /// A stream is wanted now.
  var isWanted: Bool { get }
  /// Suspends until one is, or it is over.
  func waitUntilWanted() async
  /// A stream ended (nil: with OK). Called between streams, from the supervisor's task.
  func streamEnded(_ error: SkeinError?) -> StreamContinuation
  /// The supervisor gives up; nothing follows.
  func gaveUp(_ error: SkeinError)
}

extension SupervisedStream {
  var isWanted: Bool { true }
  func waitUntilWanted() async {}
}

/// Keeps one stream open: connects, runs it, and after its end waits and starts again.
struct StreamSupervisor: Sendable {
  let connector: Connector
  let path: String
  /// How long to go on without a working stream, in nanoseconds; nil is for ever (somebody else
  /// holds a deadline).
  let patience: @Sendable () -> Int64?
  /// Told when a stream is opened again after one broke.
  var reconnects: @Sendable () -> Void = {}
  var clock = SystemClock()
  var random = SystemRandom()

  /// Returns when the stream is no longer wanted, the task is cancelled, or it gave up.
  func run(_ stream: any SupervisedStream) async {
    var connection: GRPCConnection?
    await run(stream, &connection)
    await connection?.close()
  }

  private func run(_ stream: any SupervisedStream, _ connection: inout GRPCConnection?) async {
    var backoff = Backoff()
    var lastWorked = clock.monotonicNanoseconds
    while true {
      if !stream.isWanted {
        await connection?.close()
        connection = nil
        await stream.waitUntilWanted()
        lastWorked = clock.monotonicNanoseconds
      }
      guard !Task.isCancelled, !stream.isOver else { return }
      let (error, worked) = await once(stream, &connection)
      let continuation = stream.streamEnded(error)
      guard !Task.isCancelled, !stream.isOver else { return }
      let now = clock.monotonicNanoseconds
      if worked {
        backoff.reset()
        lastWorked = now
      }
      if case .atOnce = continuation { continue }
      await connection?.close()
      connection = nil
      reconnects()
      if let error, !error.isRetriable, continuation != .anew { return stream.gaveUp(error) }
      let asked = error?.retryAfter?.nanosecondsClamped ?? 0
      // Who is told to come again when it is too late need not wait until then.
      if let patience = patience(), max(asked, 0) > patience - (now - lastWorked) {
        return stream.gaveUp(
          error ?? SkeinError(.unreachable, "the broker ended the stream again and again"))
      }
      let wait = max(backoff.next(random), min(asked, 60_000_000_000))
      try? await Task.sleep(nanoseconds: UInt64(wait))
    }
  }

  private func once(
    _ stream: any SupervisedStream, _ connection: inout GRPCConnection?
  ) async -> (error: SkeinError?, worked: Bool) {
    do throws(SkeinError) {
      let open: GRPCConnection
      if let connection, connection.isUsable {
        open = connection
      } else {
        await connection?.close()
        connection = nil
        open = try await connector.connect()
        connection = open
      }
      let generation = connector.tokenGeneration
      var (error, worked) = await StreamSession.run(stream, path: path, on: open)
      if let refusal = error, await connector.hasNewToken(since: generation, after: refusal) {
        error?.isRetriable = true
      }
      return (error, worked)
    } catch { return (error, false) }
  }
}
