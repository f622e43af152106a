import CNGHTTP2
import NIOCore
import SkeinCore

/// The client's side of one connection: calls out, responses in.
///
/// `@unchecked Sendable`: confined to the connection's loop.
final class ClientRole: ConnectionRole, @unchecked Sendable {
  let isServer = false
  /// Completed by the server's SETTINGS: only then is it certain that it took our certificate.
  private var ready: EventLoopPromise<Void>?
  private var failure: TLSFailure?
  private let host: String
  private let token: CallToken?
  private let gauge: ConnectionGauge
  private let onEnd: @Sendable () -> Void
  /// The server will take no new calls.
  private(set) var isDraining = false

  /// - Parameter onEnd: runs on the loop when no new call can be opened any more; may run twice.
  init(
    host: String, token: CallToken? = nil, ready: EventLoopPromise<Void>, gauge: ConnectionGauge,
    onEnd: @escaping @Sendable () -> Void
  ) {
    self.gauge = gauge
    self.host = host
    self.token = token
    self.ready = ready
    self.onEnd = onEnd
  }

  // MARK: Life of the connection

  func openingLimits(_ limits: TransportLimits) -> TransportLimits { limits }

  func opened(_ connection: Connection) {}

  func settingsReceived(_ connection: Connection) {
    if let session = connection.session { gauge.set(maxStreams: session.peerMaxStreams) }
    ready?.succeed()
    ready = nil
  }

  func failed(_ connection: Connection, _ failure: TLSFailure) { self.failure = failure }

  func goAwayReceived(_ connection: Connection, lastStream: Int32) {
    takeNoMore()
    // nghttp2 closes the streams above `lastStream` itself, with REFUSED_STREAM.
    if connection.calls.isEmpty { connection.shutDown("the server is draining") }
  }

  func becameIdle(_ connection: Connection) {
    if isDraining { connection.shutDown("the server is draining") }
  }

  /// Before the calls end, so that a handler that tries again at once sees it.
  func closing(_ connection: Connection) { takeNoMore() }

  func callCountChanged(_ connection: Connection) { gauge.set(open: connection.calls.count) }

  /// Our own wish to end, once the running calls have.
  func retire(_ connection: Connection) {
    takeNoMore()
    if connection.calls.isEmpty { connection.shutDown("the connection was closed by this side") }
  }

  private func takeNoMore() {
    isDraining = true
    gauge.end()
    onEnd()
  }

  func ended(_ connection: Connection) {
    ready?.fail(ConnectFailure(failure, closeReason: connection.closeReason))
    ready = nil
  }

  func status(ofReset error: UInt32) -> GRPCStatus {
    switch error {
    case NGHTTP2_REFUSED_STREAM.rawValue:
      GRPCStatus(
        .unavailable, "the server refused the call before processing it", isDefinitelyUnprocessed: true)
    case NGHTTP2_CANCEL.rawValue: GRPCStatus(.cancelled, "the server cancelled the call")
    case NGHTTP2_ENHANCE_YOUR_CALM.rawValue:
      GRPCStatus(.resourceExhausted, "the server reset the call: ENHANCE_YOUR_CALM")
    case NGHTTP2_INADEQUATE_SECURITY.rawValue:
      GRPCStatus(.permissionDenied, "the server reset the call: INADEQUATE_SECURITY")
    default: GRPCStatus(.internal, "the server reset the call with HTTP/2 error \(error)")
    }
  }

  // MARK: Calls

  /// Closes a call that never began. Not before `open` has returned: a handler that opens the next
  /// call in `closed` would otherwise recurse without end.
  private func decline(_ call: Call, _ code: StatusCode, _ message: String) {
    let status = GRPCStatus(code, message, isDefinitelyUnprocessed: true)
    call.eventLoop.execute { call.close(status, Metadata()) }
  }

  /// Sends the request headers of a new call, or closes it.
  func start(_ call: Call, on connection: Connection) {
    guard connection.phase == .open, !isDraining, let session = connection.session else {
      return decline(call, .unavailable, "the connection is closed or draining")
    }
    guard connection.calls.count < Int(connection.limits.maxConcurrentCalls) else {
      return decline(
        call, .resourceExhausted, "\(connection.limits.maxConcurrentCalls) calls are open on this connection")
    }
    var block = HeaderBlock()
    block.add(":method", "POST")
    block.add(":scheme", "https")
    block.add(":path", call.path.utf8)
    block.add(":authority", host.utf8)
    block.add("te", "trailers")
    block.add("content-type", "application/grpc")
    block.add("grpc-accept-encoding", "identity,gzip")
    if call.compresses { block.add("grpc-encoding", "gzip") }
    if let deadline = call.deadline {
      let left = (deadline - connection.eventLoop.now).nanoseconds
      guard left > 0 else {
        return decline(call, .deadlineExceeded, "the deadline had passed before the call began")
      }
      block.add("grpc-timeout", GRPCTimeout.encode(nanoseconds: left))
    }
    if let token { block.add("authorization", token.header()) }
    block.add(call.metadata)
    let stream = session.submitRequest(block, call: call)
    guard stream > 0 else {
      takeNoMore()
      return decline(call, .unavailable, "the connection has no stream ids left")
    }
    call.stream = stream
    call.headersSent = true
    call.connection = connection
    connection.calls[stream] = call
    call.wasSent = connection.calls.count <= gauge.maxStreams
    if !call.wasSent { connection.hasQueuedCalls = true }
    callCountChanged(connection)
    connection.watchDeadline(call)
    connection.setNeedsPump()
  }

  func headers(_ connection: Connection, stream: Int32, isFirst: Bool, endStream: Bool) {
    guard let call = connection.session?.call(stream), !call.isClosed else { return }
    let head = connection.head
    if !call.responseHeadersReceived {
      if let status = head.httpStatus, (100..<200).contains(status), !endStream { return }
      if let failure = Self.failure(of: head) { return finish(call, failure, head.metadata, connection) }
      guard endStream else {
        call.responseHeadersReceived = true
        call.inbound.acceptsGzip = head.isGzip
        call.handler?.receivedHeaders(head.metadata)
        return
      }
    }
    guard endStream else { return }
    let status = head.status ?? GRPCStatus(.unknown, "the server sent no grpc-status")
    finish(call, status, head.metadata, connection)
  }

  /// Without trailers nothing follows: a call whose own side is open would wait for its deadline.
  func dataEnded(_ connection: Connection, _ call: Call) {
    finish(
      call, GRPCStatus(.unknown, "the server ended the call without grpc-status"), Metadata(), connection)
  }

  /// The final status has come.
  private func finish(_ call: Call, _ status: GRPCStatus, _ trailers: Metadata, _ connection: Connection) {
    var status = status
    if status.code == .ok, call.inbound.isInsideMessage {
      status = GRPCStatus(.internal, "the response ended inside a message")
    }
    call.receiveEnd()
    // If our side is still open the server has no use for the rest of it. Never otherwise: each reset
    // counts against the server's limit of them.
    if let session = connection.session, !session.isLocalClosed(call.stream) {
      session.reset(call.stream, NGHTTP2_NO_ERROR)
      connection.setNeedsPump()
    }
    call.close(status, trailers)
  }

  /// A response that is not gRPC's, by the mapping of the gRPC documents.
  private static func failure(of head: HeadBuilder) -> GRPCStatus? {
    guard let http = head.httpStatus else { return GRPCStatus(.internal, "response without :status") }
    if head.status != nil { return nil }
    if let name = head.malformedMetadata {
      return GRPCStatus(.internal, "the server's metadata \(name) is not base64")
    }
    if case .unknown(let encoding) = head.encoding {
      return GRPCStatus(
        .internal, "the server compresses with \(encoding), though only identity and gzip were offered")
    }
    if http == 200 {
      return head.contentTypeIsGRPC
        ? nil : GRPCStatus(.unknown, "the response's content-type is not application/grpc")
    }
    let code: StatusCode =
      switch http {
      case 400: .internal
      case 401: .unauthenticated
      case 403: .permissionDenied
      case 404: .unimplemented
      case 429, 502, 503, 504: .unavailable
      default: .unknown
      }
    return GRPCStatus(code, "the server answered with HTTP status \(http)")
  }
}
