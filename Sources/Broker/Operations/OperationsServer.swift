import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import SkeinCore

/// Operations over plain HTTP: `/healthz`, `/readyz`, `/metrics`. On loopback unless told otherwise;
/// it serves nothing that changes state.
final class OperationsServer: Sendable {
  /// Open connections; more are closed at once.
  static let maximumConnections = 64
  /// Seconds without a request after which a connection is closed.
  static let idleSeconds: Int64 = 30

  private let channel: any Channel

  private init(channel: any Channel) { self.channel = channel }

  var port: Int { channel.localAddress?.port ?? 0 }

  static func start(
    host: String, port: Int, group: any EventLoopGroup, health: HealthState,
    degraded: @escaping @Sendable () -> String?, metrics: @escaping @Sendable () async throws -> String
  ) async throws -> OperationsServer {
    let open = Counter()
    let channel = try await ServerBootstrap(group: group)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        guard open.value < maximumConnections else {
          return channel.eventLoop.makeFailedFuture(ChannelError.operationUnsupported)
        }
        open.add(1)
        channel.closeFuture.whenComplete { _ in open.add(-1) }
        return channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: true)
          try channel.pipeline.syncOperations.addHandlers([
            IdleStateHandler(readTimeout: .seconds(idleSeconds)),
            OperationsHandler(health: health, degraded: degraded, metrics: metrics),
          ])
        }
      }
      .bind(host: host, port: port).get()
    return OperationsServer(channel: channel)
  }

  func close() async { try? await channel.close() }
}

/// One connection. Confined to its channel's loop.
private final class OperationsHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let health: HealthState
  /// What does not work although the broker serves.
  private let degraded: @Sendable () -> String?
  private let metrics: @Sendable () async throws -> String
  private var head: HTTPRequestHead?

  init(
    health: HealthState, degraded: @escaping @Sendable () -> String?,
    metrics: @escaping @Sendable () async throws -> String
  ) {
    self.health = health
    self.degraded = degraded
    self.metrics = metrics
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): self.head = head
    case .body: break  // ignored: no resource takes one
    case .end:
      guard let head else { return }
      self.head = nil
      answer(head, context)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent {
      context.close(promise: nil)
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
    guard head.method == .GET || head.method == .HEAD else {
      return respond(context, head, .methodNotAllowed, "use GET\n")
    }
    switch head.uri.split(separator: "?", maxSplits: 1).first.map(String.init) ?? "" {
    case "/healthz":
      let failed = health.phase == .failed
      let alive = degraded().map { "degraded: \($0)\n" } ?? "ok\n"
      respond(context, head, failed ? .serviceUnavailable : .ok, failed ? "failed\n" : alive)
    case "/readyz":
      let phase = health.phase
      respond(context, head, phase == .ready ? .ok : .serviceUnavailable, "\(phase)\n")
    case "/metrics":
      let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
      let this = NIOLoopBound(self, eventLoop: context.eventLoop)
      let metrics = metrics
      context.eventLoop.makeFutureWithTask { try await metrics() }.whenComplete { result in
        switch result {
        case .success(let text): this.value.respond(bound.value, head, .ok, text)
        case .failure(let error):
          this.value.respond(bound.value, head, .internalServerError, "\(error)\n")
        }
      }
    default:
      respond(context, head, .notFound, "known: /healthz /readyz /metrics\n")
    }
  }

  private func respond(
    _ context: ChannelHandlerContext, _ request: HTTPRequestHead, _ status: HTTPResponseStatus,
    _ body: String
  ) {
    var headers = HTTPHeaders()
    headers.add(name: "content-type", value: "text/plain; version=0.0.4; charset=utf-8")
    headers.add(name: "content-length", value: String(body.utf8.count))
    if !request.isKeepAlive { headers.add(name: "connection", value: "close") }
    context.write(
      wrapOutboundOut(.head(HTTPResponseHead(version: request.version, status: status, headers: headers))),
      promise: nil)
    if request.method != .HEAD {
      context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
    }
    let done = context.writeAndFlush(wrapOutboundOut(.end(nil)))
    if !request.isKeepAlive {
      let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
      done.whenComplete { _ in bound.value.close(promise: nil) }
    }
  }
}
