import CNGHTTP2
import NIOCore
import SkeinCore

/// The server's side of one connection: requests in, handlers from the router.
///
/// `@unchecked Sendable`: confined to the connection's loop.
final class ServerRole: ConnectionRole, @unchecked Sendable {
  let isServer = true
  let server: ServerState
  /// The next look at certificate and age.
  var endTask: Scheduled<Void>?
  var drainReason = "the server is stopping"
  private var holdsHandshake = true

  /// Where calls show their tokens; nil where the certificate says it all.
  let desk: AuthenticationDesk?

  init(server: ServerState, now: NIODeadline) {
    self.server = server
    desk = server.configuration.authentication.map { AuthenticationDesk($0, server: server, now: now) }
  }

  // MARK: Life of the connection

  func openingLimits(_ limits: TransportLimits) -> TransportLimits { desk?.openingLimits(limits) ?? limits }

  func opened(_ connection: Connection) {
    // With tokens the place is kept until the first one was found good.
    if let desk { desk.opened(connection) } else { handshakeEnded() }
    if server.isDraining { drain(connection) }
    watchEnd(connection)
  }

  func failed(_ connection: Connection, _ failure: TLSFailure) {
    if connection.session == nil {
      connection.report(.handshakeFailed, failure.text)
    } else {
      connection.report(.protocolError, "TLS: \(failure.text)")
    }
  }

  func closing(_ connection: Connection) {}

  func ended(_ connection: Connection) {
    endTask?.cancel()
    desk?.ended()
    handshakeEnded()
    server.remove(connection)
  }

  /// The peer is known, or gone.
  func handshakeEnded() {
    guard holdsHandshake else { return }
    holdsHandshake = false
    server.handshakeEnded()
  }

  func settingsReceived(_ connection: Connection) {}
  func callCountChanged(_ connection: Connection) {}
  func goAwayReceived(_ connection: Connection, lastStream: Int32) {}

  func status(ofReset error: UInt32) -> GRPCStatus {
    error == NGHTTP2_CANCEL.rawValue || error == NGHTTP2_NO_ERROR.rawValue
      ? GRPCStatus(.cancelled, "the client cancelled the call")
      : GRPCStatus(.cancelled, "the stream was reset with HTTP/2 error \(error)")
  }

  func becameIdle(_ connection: Connection) {
    if connection.isDraining { connection.shutDown(drainReason) }
  }

  // MARK: Requests

  func headers(_ connection: Connection, stream: Int32, isFirst: Bool, endStream: Bool) {
    guard isFirst else {
      // Trailers of a request carry nothing that gRPC uses.
      if endStream { connection.session?.call(stream)?.receiveEnd() }
      return
    }
    guard connection.phase == .open else { return }
    if openHTTP(connection, stream: stream, endStream: endStream) { return }
    let head = connection.head
    if let refusal = refusal(of: head) { return refuse(connection, stream, refusal) }
    var metadata = head.metadata
    let authorization = desk == nil ? [] : metadata.take("authorization")
    let call = Call(
      connection: connection, eventLoop: connection.eventLoop, path: head.path, metadata: metadata,
      deadline: Self.deadline(head.timeout, connection.eventLoop), peer: connection.peer, isServer: true,
      limits: connection.limits)
    call.stream = stream
    call.opened = connection.lastRead
    call.inbound.acceptsGzip = head.isGzip
    call.peerAcceptsGzip = head.acceptsGzip
    if let desk {
      attach(call, to: stream, of: connection)
      desk.admit(call, authorization: authorization, on: connection)
      if endStream { call.receiveEnd() }
      return
    }
    guard let handler = server.router(call) else {
      var block = HeaderBlock.announcing
      let status = GRPCStatus(.unimplemented, "unknown method \(head.path)", cause: .methodUnknown)
      block.add(explained(status).bounded)
      connection.session?.submitResponse(stream, block, isLast: true)
      return
    }
    attach(call, to: stream, of: connection)
    call.handler = handler
    // A router may have ended the call at once.
    if case .trailers = call.ending { call.handler = nil }
    if endStream { call.receiveEnd() }
  }

  private func attach(_ call: Call, to stream: Int32, of connection: Connection) {
    connection.calls[stream] = call
    connection.session?.attach(call, to: stream)
    connection.watchDeadline(call)
  }

  /// Gives a call that was admitted its handler.
  func begin(_ call: Call, on connection: Connection) {
    guard let handler = server.router(call) else {
      return call.finish(
        explained(GRPCStatus(.unimplemented, "unknown method \(call.path)", cause: .methodUnknown)))
    }
    // A router may have ended the call at once.
    if case .none = call.ending, call.http?.isAnswered != true { call.handler = handler }
  }

  func dataEnded(_ connection: Connection, _ call: Call) { call.receiveEnd() }

  /// A status that the transport made, in the service's own words.
  func explained(_ status: GRPCStatus) -> GRPCStatus {
    guard status.cause != nil, let explain = server.configuration.explain else { return status }
    return explain(status)
  }

  private static func deadline(_ timeout: HeadBuilder.Timeout, _ loop: any EventLoop) -> NIODeadline? {
    guard case .nanoseconds(let nanoseconds) = timeout else { return nil }
    // A year is as good as for ever, and cannot overflow the clock.
    return loop.now + .nanoseconds(min(nanoseconds, 31_536_000_000_000_000))
  }

  /// What is wrong with a request before any method is looked at, as response headers.
  private func refusal(of head: HeadBuilder) -> HeaderBlock? {
    guard head.isPost else { return .methodNotAllowed }
    guard head.contentTypeIsGRPC else { return .unsupportedMediaType }
    if head.timeout == .malformed {
      return answer(
        .malformedRequest(
          "grpc-timeout", "malformed grpc-timeout: it must be 1 to 8 digits and one of H M S m u n"))
    }
    if case .unknown(let encoding) = head.encoding {
      let message = "grpc-encoding \(encoding) is not supported; send identity or gzip"
      return answer(.encodingUnsupported(message))
    }
    if let name = head.malformedMetadata {
      let message = "metadata \(name) is not base64 (RFC 4648, with or without padding)"
      return answer(.malformedRequest(name, message))
    }
    return nil
  }

  /// The whole answer; it lists the accepted encodings like every one.
  private func answer(_ status: GRPCStatus) -> HeaderBlock {
    var block = HeaderBlock.announcing
    block.add(explained(status).bounded)
    return block
  }

  private func refuse(_ connection: Connection, _ stream: Int32, _ block: HeaderBlock) {
    connection.session?.submitResponse(stream, block, isLast: true)
    connection.setNeedsPump()
  }
}

extension HeaderBlock {
  fileprivate static let methodNotAllowed: HeaderBlock = {
    var block = HeaderBlock()
    block.add(":status", "405")
    block.add("allow", "POST")
    return block
  }()

  fileprivate static let unsupportedMediaType: HeaderBlock = {
    var block = HeaderBlock()
    block.add(":status", "415")
    return block
  }()
}

extension GRPCStatus {
  fileprivate static func malformedRequest(_ header: String, _ message: String) -> GRPCStatus {
    GRPCStatus(.invalidArgument, message, cause: .malformedRequest(header: header))
  }

  fileprivate static func encodingUnsupported(_ message: String) -> GRPCStatus {
    GRPCStatus(.unimplemented, message, cause: .encodingUnsupported)
  }
}
