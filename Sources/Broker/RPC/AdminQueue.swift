import SkeinCore
import Transport

/// Runs what must await (metadata changes) for handlers that live on event loops: a bounded queue
/// in front of a task group, so that no task floats free and a flood of requests is refused instead
/// of piling up. Threading: `submit` from any thread; `run` once.
final class AdminQueue: Sendable {
  /// Requests that wait or run at once; the next is refused.
  static let capacity = 1_024

  typealias Work = @Sendable () async -> Void
  private let stream: AsyncStream<Work>
  private let continuation: AsyncStream<Work>.Continuation

  init() {
    (stream, continuation) = AsyncStream.makeStream(
      bufferingPolicy: .bufferingOldest(Self.capacity))
  }

  /// - Throws: `OVERLOADED` when the queue is full, `DRAINING` when it has ended.
  func submit(_ work: @escaping Work) throws(Fault) {
    switch continuation.yield(work) {
    case .enqueued: return
    case .dropped:
      throw Fault(
        .overloaded, "more than \(Self.capacity) administrative requests wait; retry after 1 s",
        retryAfterMilliseconds: 1_000)
    default:
      throw Fault(.draining, "the broker is stopping; nothing was changed; connect again")
    }
  }

  /// Serves until `finish`; then ends when everything accepted is done.
  func run() async {
    await withDiscardingTaskGroup { group in
      for await work in stream { group.addTask { await work() } }
    }
  }

  func finish() { continuation.finish() }

  /// The handler of a unary method whose answer takes time: `body` runs here, with the request's bytes.
  func unary(
    _ call: Call, _ principal: Principal,
    _ body: @escaping @Sendable (SharedBytes, Principal) async throws -> [UInt8]
  ) -> any CallHandler {
    UnaryHandler(call) { message, reply in
      self.answer(reply) { try await body(message, principal) }
    }
  }

  /// Answers `reply` with the result of `body`.
  func answer(_ reply: UnaryReply, with body: @escaping @Sendable () async throws -> [UInt8]) {
    do throws(Fault) {
      try submit {
        do {
          reply.succeed(try await body())
        } catch {
          reply.fail(Fault(wrapping: error))
        }
      }
    } catch {
      reply.fail(error)
    }
  }
}

extension Fault {
  /// Any error as a fault: itself, or `INTERNAL`.
  init(wrapping error: any Error) {
    self = error as? Fault ?? Fault(.internalError, "\(error)")
  }
}
