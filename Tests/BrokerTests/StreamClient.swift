import NIOCore
import SkeinCore
import Transport
import Wire

/// A raw stream of one method, for tests that look at every message.
///
/// `@unchecked Sendable`: `call` is set once before anything is received, and used on its loop.
final class StreamClient<Request: WireMessage, Response: WireMessage>: CallHandler, @unchecked Sendable {
  private let continuation: AsyncStream<SharedBytes>.Continuation
  private var iterator: AsyncStream<SharedBytes>.AsyncIterator
  private let ended: EventLoopPromise<GRPCStatus>
  private var call: Call?
  private let releases: Bool
  /// On the loop.
  private var hasEnded = false

  /// - Parameter releases: false holds every message's flow-control credit for ever.
  private init(loop: any EventLoop, releases: Bool) {
    let (stream, continuation) = AsyncStream<SharedBytes>.makeStream()
    self.continuation = continuation
    self.iterator = stream.makeAsyncIterator()
    self.ended = loop.makePromise()
    self.releases = releases
  }

  static func open(
    _ path: String, on connection: GRPCConnection, releases: Bool = true,
    metadata: Metadata = Metadata()
  ) async throws -> StreamClient {
    let client = StreamClient(loop: connection.eventLoop, releases: releases)
    try await connection.eventLoop.submit {
      client.call = connection.open(path: path, metadata: metadata) { _ in client }
    }.get()
    return client
  }

  func send(_ request: Request) async throws {
    let (head, payload) = request.encodedParts()
    try await onLoop { $0.send(OutboundMessage(head: head, parts: payload)) }
  }

  /// All in one turn, so that they come together.
  func send(together requests: [Request]) async throws {
    try await onLoop { call in
      for request in requests { call.send(OutboundMessage(head: request.encoded(), parts: [])) }
    }
  }

  /// Now and again and again, whatever the tasks of other tests do, until it is cancelled or the stream ends.
  func send(_ request: Request, every pause: TimeAmount) -> RepeatedTask? {
    let bytes = request.encoded()
    return call?.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: pause) { [weak self] task in
      guard let call = self?.call, self?.hasEnded == false else { return task.cancel() }
      call.send(OutboundMessage(head: bytes, parts: []))
    }
  }

  /// Bytes that may be no request at all.
  func send(bytes: [UInt8]) async throws {
    try await onLoop { $0.send(OutboundMessage(head: bytes, parts: [])) }
  }

  func sendEnd() async throws { try await onLoop { $0.sendEnd() } }
  func cancel() async throws { try await onLoop { $0.cancel() } }

  /// From any thread, without waiting.
  func cancelNow() {
    guard let call else { return }
    call.eventLoop.execute { call.cancel() }
  }

  private func onLoop(_ body: @escaping @Sendable (Call) -> Void) async throws {
    guard let call else { return }
    try await call.eventLoop.submit { body(call) }.get()
  }

  /// The next message; nil when the stream has ended.
  func next() async throws -> Response? {
    guard let bytes = await iterator.next(isolation: #isolation) else { return nil }
    return try Response(decoding: bytes, limits: .reply)
  }

  /// The final status.
  func status() async throws -> GRPCStatus { try await ended.futureResult.get() }

  func fault() async throws -> Fault {
    let status = try await status()
    return Fault(statusMessage: status.details, code: status.code, message: status.message)
  }

  // MARK: On the loop

  func received(_ message: SharedBytes) {
    continuation.yield(message)
    if releases { call?.release(message.count) }
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    continuation.finish()
    hasEnded = true
    ended.succeed(status)
  }
}
