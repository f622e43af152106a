import NIOCore
import SkeinCore
import Transport
import Wire

/// What a producer or reader does with its stream. Every method runs on the connection's event loop.
protocol StreamDelegate: AnyObject, Sendable {
  /// The stream exists: send the opening message.
  func started(_ stream: StreamSession)
  /// - Throws: the peer broke the contract; the stream is cancelled and the error ends it.
  func received(_ message: SharedBytes, on stream: StreamSession) throws(SkeinError)
  /// More may be sent again.
  func writable(_ stream: StreamSession)
  /// Everything of one socket read has been received.
  func readIdle(_ stream: StreamSession)
  /// A heartbeat to send after 5 s of silence (stream rule 3); nil where this side says nothing more.
  func heartbeat(now wallMilliseconds: Int64) -> OutboundMessage?
  /// Silence of the broker after which the stream is given up, in nanoseconds.
  var silenceLimit: Int64 { get }
}

extension StreamDelegate {
  var silenceLimit: Int64 { StreamSession.silenceLimit }
}

/// One bidirectional stream from its opening to its end: liveness in both directions, and one end.
///
/// `@unchecked Sendable`: mutable state is confined to the connection's event loop.
final class StreamSession: CallHandler, @unchecked Sendable {
  /// Who has been silent this long says that it is there (stream rule 3).
  static let heartbeatInterval = TimeAmount.seconds(5)
  /// Silence of the broker after which the stream is given up and opened anew.
  static let silenceLimit: Int64 = 45_000_000_000

  private let delegate: any StreamDelegate
  private let clock = SystemClock()
  private var call: Call?
  private var ended: CheckedContinuation<SkeinError?, Never>?
  private var ticker: RepeatedTask?
  private var lastSent: Int64 = 0
  private var lastReceived: Int64 = 0
  private var brokenBy: SkeinError?
  /// Messages received: a stream that worked resets the back-off.
  private(set) var receivedMessages = 0

  private init(delegate: any StreamDelegate) { self.delegate = delegate }

  var eventLoop: (any EventLoop)? { call?.eventLoop }

  /// Runs one stream on `connection`; returns when it is over: nil for OK, else why.
  /// Cancelling the task cancels the stream.
  static func run(
    _ delegate: any StreamDelegate, path: String, on connection: GRPCConnection
  ) async -> (error: SkeinError?, worked: Bool) {
    let session = StreamSession(delegate: delegate)
    let loop = connection.eventLoop
    let error = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        loop.execute { session.start(path, connection, continuation) }
      }
    } onCancel: {
      loop.execute { session.cancel(nil) }
    }
    return (error, session.receivedMessages > 1)
  }

  private func start(
    _ path: String, _ connection: GRPCConnection, _ ended: CheckedContinuation<SkeinError?, Never>
  ) {
    self.ended = ended
    if let brokenBy { return finish(brokenBy) }
    lastSent = clock.monotonicNanoseconds
    lastReceived = lastSent
    let call = connection.open(path: path) { _ in self }
    self.call = call
    ticker = call.eventLoop.scheduleRepeatedTask(
      initialDelay: Self.heartbeatInterval, delay: Self.heartbeatInterval
    ) { [weak self] _ in self?.beat() }
    delegate.started(self)
  }

  // MARK: Verbs, on the loop

  var isWritable: Bool { call?.isWritable ?? false }

  func send(_ message: OutboundMessage) {
    lastSent = clock.monotonicNanoseconds
    call?.send(message)
  }

  /// No more will be sent; the broker answers what it has and ends the stream.
  func sendEnd() { call?.sendEnd() }

  /// Ends the stream now.
  func cancel(_ error: SkeinError?) {
    brokenBy = brokenBy ?? error ?? SkeinError(.cancelled, "the stream was cancelled by this client")
    call?.cancel()
  }

  private func beat() {
    let now = clock.monotonicNanoseconds
    if now - lastReceived > delegate.silenceLimit {
      return cancel(
        SkeinError(.connectionLost, "the broker has been silent for 45 s; the stream is opened anew"))
    }
    if now - lastSent >= Self.heartbeatInterval.nanoseconds,
      let beat = delegate.heartbeat(now: clock.wallMilliseconds)
    {
      send(beat)
    }
  }

  // MARK: CallHandler

  func received(_ message: SharedBytes) {
    receivedMessages += 1
    lastReceived = clock.monotonicNanoseconds
    // What the delegate keeps is bounded by credits or by its own requests, not by HTTP/2.
    call?.release(message.count)
    do throws(SkeinError) { try delegate.received(message, on: self) } catch { cancel(error) }
  }

  func writable() { delegate.writable(self) }
  func readIdle() { delegate.readIdle(self) }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    if let brokenBy { return finish(brokenBy) }
    finish(status.code == .ok ? nil : SkeinError(status))
  }

  private func finish(_ error: SkeinError?) {
    ticker?.cancel()
    ticker = nil
    call = nil
    ended?.resume(returning: error)
    ended = nil
  }
}

extension SkeinError {
  /// The end of a call.
  init(_ status: GRPCStatus) {
    self.init(Fault(statusMessage: status.details, code: status.code, message: status.message))
    if status.isDefinitelyUnprocessed {
      outcome = .definite
      isRetriable = true
    }
  }
}
