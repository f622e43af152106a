import CNGHTTP2
package import NIOCore
import SkeinCore

/// One gRPC call, on the side of the server or of the client.
///
/// `@unchecked Sendable`: all mutable state is confined to `eventLoop`, and every verb must be called
/// there (asserted in debug builds); the `let`s may be read from any thread.
package final class Call: @unchecked Sendable {
  /// How our side of the call ends, once the messages queued before are sent.
  enum Ending {
    case none
    /// Client: END_STREAM.
    case halfClose
    /// Server: trailers.
    case trailers(GRPCStatus, Metadata)
  }

  package let eventLoop: any EventLoop
  /// `/package.Service/Method`.
  package let path: String
  /// The request's metadata: received on a server, sent on a client.
  package let metadata: Metadata
  package let deadline: NIODeadline?
  /// The verified peer of the connection. On a client empty until the call has a connection.
  /// On a listener with tokens its `bearer` is set before the call has a handler.
  package internal(set) var peer: PeerIdentity

  let isServer: Bool
  let limits: TransportLimits
  /// nil once the call is over (and, on a client, before it is started).
  var connection: Connection?
  var handler: (any CallHandler)?
  var stream: Int32 = 0

  /// Set while the call is an HTTP request behind a door.
  var http: HTTPExchange?
  /// Only on a listener with tokens: which one the call came with, and what waits for the answer about it.
  var gate: CallGate?
  var inbound: MessageDeframer
  var outbound = OutboundQueue()
  var ending = Ending.none
  var headersSent = false
  /// nghttp2 was told that there is nothing to send now.
  var isDeferred = false
  /// Queued bytes at which `isWritable` turns false, and below which `writable()` follows.
  private(set) var highWaterBytes: Int
  private(set) var lowWaterBytes: Int
  /// A reader of `isWritable` has seen false, or a send went over the mark.
  var awaitsWritable = false
  /// The handler has something to hear at the end of this read.
  var isTouched = false
  /// Stream credit of delivered or pending bytes that is not yet returned to the peer.
  var unreleased = 0
  /// Credit of messages longer than the window, returned before their release.
  var returnedEarly = 0
  /// Bytes of messages and prefixes in each direction, and how they moved since the last look.
  var receivedBytes = 0
  var sentBytes = 0
  var inboundPace: Pace?
  var outboundPace: Pace?
  /// Server: when it began, and when it ends by force because of its age.
  var opened: NIODeadline = .distantFuture
  var endBy: NIODeadline?
  /// Messages of this side are compressed, and the headers say so.
  private(set) var compresses = false
  /// The peer's request lists gzip. Server only.
  var peerAcceptsGzip = false
  var endReceived = false
  var responseHeadersReceived = false
  /// Client: the request's headers have left, or will with this tick. nghttp2 keeps them while the server
  /// allows no more streams.
  var wasSent = false
  /// How the call ended; nil until then.
  private(set) var finalStatus: GRPCStatus?
  var isClosed: Bool { finalStatus != nil }

  init(
    connection: Connection?, eventLoop: any EventLoop, path: String, metadata: Metadata,
    deadline: NIODeadline?, peer: PeerIdentity, isServer: Bool, limits: TransportLimits
  ) {
    self.connection = connection
    self.eventLoop = eventLoop
    self.path = path
    self.metadata = metadata
    self.deadline = deadline
    self.peer = peer
    self.isServer = isServer
    self.limits = limits
    highWaterBytes = limits.callHighWaterBytes
    lowWaterBytes = limits.callLowWaterBytes
    self.inbound = MessageDeframer(limit: limits.maxMessageBytes)
  }

  // MARK: Verbs of the application

  /// Bytes queued and not yet encrypted, prefixes included. Loop only.
  package var queuedBytes: Int { outbound.count }

  /// Whether more should be sent now. After false, `writable()` follows. Loop only.
  package var isWritable: Bool {
    guard outbound.count >= highWaterBytes else { return !isClosed }
    awaitsWritable = true
    return false
  }

  /// Makes `isWritable` turn false earlier than the limits say: for streams of small messages, of which a
  /// thousand stalled ones must not hold a thousand times the common mark. `writable()` follows at a quarter.
  /// Loop only.
  package func lowerHighWater(to bytes: Int) {
    highWaterBytes = min(highWaterBytes, bytes)
    lowWaterBytes = min(lowWaterBytes, bytes / 4)
  }

  /// Queues a message; headers go first if they have not been sent. Ignored after `finish`,
  /// `sendEnd`, or the end of the call. The bytes leave at the end of the loop's tick. Loop only.
  ///
  /// - Parameter plain: do not compress this one, on a call that compresses.
  package func send(_ message: OutboundMessage, plain: Bool = false) {
    eventLoop.assertInEventLoop()
    guard !isClosed, case .none = ending else { return }
    if let http { return http.message = message }
    guard outbound.count + message.count <= limits.maxQueuedBytesPerCall else {
      return abandon(
        GRPCStatus(
          .resourceExhausted,
          "more than \(limits.maxQueuedBytesPerCall) bytes are queued for this call: its sender ignores isWritable"
        ))
    }
    outbound.append(compresses && !plain ? compressed(message) : message)
    if outbound.count >= highWaterBytes { awaitsWritable = true }
    wake()
  }

  /// Announces `grpc-encoding: gzip` and compresses the messages that follow, each on this loop, unless that
  /// would not make it smaller. Before the first message and before `sendHeaders`. Loop only.
  ///
  /// Off by default: record batches are compressed already.
  /// - Returns: false, and nothing changes, when it is too late or the client did not say that it accepts gzip.
  @discardableResult
  package func compressWithGzip() -> Bool {
    eventLoop.assertInEventLoop()
    guard !headersSent, !isServer || peerAcceptsGzip else { return false }
    compresses = true
    return true
  }

  /// Whether the message that `received` is being told of came compressed. Loop only.
  package var receivedCompressed: Bool { inbound.inflatedBy != nil }

  /// Server: sends the response headers now, with this metadata. Ignored when they are sent already.
  /// Loop only.
  package func sendHeaders(_ metadata: Metadata = Metadata()) {
    eventLoop.assertInEventLoop()
    guard isServer, !isClosed, !headersSent, http == nil, let connection else { return }
    headersSent = true
    if metadata.isEmpty, !compresses {
      connection.session?.submitResponse(stream, connection.responseHead(), isLast: false)
    } else {
      var block = connection.responseHead()
      if compresses { block.add("grpc-encoding", "gzip") }
      block.add(metadata)
      connection.session?.submitResponse(stream, block, isLast: false)
    }
    connection.setNeedsPump()
  }

  /// Server: ends the call after what is queued. The handler hears nothing more. Loop only.
  package func finish(_ status: GRPCStatus, trailers: Metadata = Metadata()) {
    eventLoop.assertInEventLoop()
    guard isServer, !isClosed, case .none = ending else { return }
    handler = nil
    stopReceiving()
    end(http == nil ? status.bounded : status, trailers)
  }

  /// Client: no more messages will be sent. Loop only.
  package func sendEnd() {
    eventLoop.assertInEventLoop()
    guard !isServer, !isClosed, case .none = ending else { return }
    ending = .halfClose
    wake()
  }

  /// Ends the call now: a client's handler gets CANCELLED; a server resets the stream and its handler
  /// hears nothing more. Loop only.
  package func cancel() {
    eventLoop.assertInEventLoop()
    guard !isClosed else { return }
    if isServer { handler = nil }
    connection?.session?.reset(stream, NGHTTP2_CANCEL)
    connection?.setNeedsPump()
    close(GRPCStatus(.cancelled, "cancelled by this side"), Metadata())
  }

  /// Returns flow-control credit for received bytes that the application holds no longer. More than
  /// it got is ignored. Loop only.
  package func release(_ bytes: Int) {
    eventLoop.assertInEventLoop()
    guard !isClosed, bytes > 0 else { return }
    returnCredit(bytes)
  }

  // MARK: The end

  /// Ends the server's side with a status, dropping nothing that is queued.
  func end(_ status: GRPCStatus, _ trailers: Metadata) {
    if let http { return answer(http, status) }
    guard let connection else { return }
    if headersSent || !outbound.isEmpty {
      ending = .trailers(status, trailers)
      wake()
    } else {
      ending = .trailers(status, trailers)
      headersSent = true
      var block = connection.responseHead()
      block.add(trailers)
      block.add(status)
      connection.session?.submitResponse(stream, block, isLast: true)
      connection.setNeedsPump()
    }
  }

  /// Ends the call from inside the transport: the peer gets the status (server) or a reset, the
  /// handler hears `closed`. A server resets too where the status could not get through: in the middle
  /// of a message, or while the peer grants no credit.
  func abandon(_ status: GRPCStatus) {
    guard !isClosed else { return }
    // An HTTP response that is being made or sent when the deadline passes still counts.
    if let http, http.isAnswered, !headersSent || status.cause == .deadlinePassed { return }
    let handler = self.handler
    if isServer, !outbound.isInsideMessage, !(http?.isAnswered ?? false),
      !headersSent || connection?.session?.isBlocked(stream) != true
    {
      self.handler = nil
      stopReceiving()
      outbound.removeAll()
      end((connection?.role as? ServerRole)?.explained(status) ?? status, Metadata())
    } else {
      let code = status.code == .resourceExhausted ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_CANCEL
      connection?.session?.reset(stream, code)
      connection?.setNeedsPump()
      self.handler = nil
      close(status, Metadata())
    }
    handler?.closed(status, Metadata())
  }

  /// The call is over; tells the handler if there still is one. Once only.
  func close(_ status: GRPCStatus, _ trailers: Metadata) {
    guard !isClosed else { return }
    finalStatus = status
    let handler = self.handler
    let connection = self.connection
    self.handler = nil
    self.connection = nil
    inbound.stop()
    outbound.removeAll()
    connection?.callEnded(self)
    unreleased = 0
    handler?.closed(status, trailers)
  }
}

extension GRPCStatus {
  /// Cut to what stock clients take in their 8 KiB of metadata: longer texts are cut, longer details
  /// are dropped (the code and the sentence remain).
  var bounded: GRPCStatus {
    guard message.utf8.count > 2048 || details.count > 4096 else { return self }
    var copy = self
    if message.utf8.count > 2048 {
      copy.message = String(decoding: Array(message.utf8.prefix(2045)), as: UTF8.self) + "..."
    }
    if details.count > 4096 { copy.details = [] }
    return copy
  }
}
