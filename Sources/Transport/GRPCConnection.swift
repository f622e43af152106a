package import NIOCore
import NIOPosix
package import SkeinCore

/// A client's connection to one server: calls of all four shapes, until it breaks or drains.
///
/// It never reconnects by itself. `@unchecked Sendable`: the connection's state is confined to
/// `eventLoop`; what is stored here is immutable or a lock-free flag.
package final class GRPCConnection: @unchecked Sendable {
  package let eventLoop: any EventLoop
  package let peer: PeerIdentity
  private let connection: Connection
  private let role: ClientRole
  private let channel: any Channel
  /// Load and readiness, for pools.
  let gauge: ConnectionGauge

  /// On the loop: it copies the peer.
  init(connection: Connection, role: ClientRole, channel: any Channel, gauge: ConnectionGauge) {
    self.connection = connection
    self.role = role
    self.channel = channel
    self.gauge = gauge
    peer = connection.peer
    eventLoop = channel.eventLoop
  }

  /// Connects, verifies the server, and waits for its first frame, which proves that it took our
  /// certificate (with TLS 1.3 a refusal comes after the handshake).
  ///
  /// - Parameters:
  ///   - deadline: for name, TCP, TLS and that first frame together.
  ///   - onEnd: runs on the loop as soon as the connection takes no new calls (GOAWAY, loss, close);
  ///     it may run more than once.
  /// - Throws: `ConnectFailure`, or `TLSConfigurationError` for our own certificate or roots.
  package static func connect(
    host: String, port: Int, tls: ClientTLS, limits: TransportLimits = TransportLimits(),
    budget: MemoryBudget? = nil, group: any EventLoopGroup, deadline: NIODeadline = .now() + .seconds(10),
    log: TransportLog? = nil, onEnd: @escaping @Sendable () -> Void = {}
  ) async throws -> GRPCConnection {
    try await start(
      host: host, port: port, tls: tls, limits: limits, budget: budget, loop: group.next(),
      deadline: deadline,
      log: log, onEnd: onEnd
    ).get()
  }

  /// `connect` as a future on `loop`, also from event loops: files are read on another thread.
  static func start(
    host: String, port: Int, tls: ClientTLS, limits: TransportLimits, budget: MemoryBudget?,
    loop: any EventLoop, deadline: NIODeadline, log: TransportLog?, onEnd: @escaping @Sendable () -> Void
  ) -> EventLoopFuture<GRPCConnection> {
    NIOThreadPool.singleton.runIfActive(eventLoop: loop) {
      try tls.token?.read()
      return try TLSContext.client(tls)
    }.flatMap { context in
      let target = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
      let ready = loop.makePromise(of: Void.self)
      let gauge = ConnectionGauge()
      let role = ClientRole(host: target, token: tls.token, ready: ready, gauge: gauge, onEnd: onEnd)
      // On its loop, because it takes that thread's scratch memory: on another it would share that loop's.
      guard
        let connection = Connection(
          role: role, security: .tls(context, serverName: tls.serverName ?? host), limits: limits,
          budget: budget,
          log: log, eventLoop: loop, remoteAddress: target)
      else {
        let failure = ConnectFailure(.tls, "the server name \(tls.serverName ?? host) cannot be used")
        ready.fail(failure)
        return loop.makeFailedFuture(failure)
      }
      return bootstrap(loop, limits, deadline, connection).connect(host: host, port: port)
        .flatMapErrorThrowing { error in
          let failure = ConnectFailure(connecting: error, to: target)
          ready.fail(failure)
          throw failure
        }
        .flatMap { channel in
          let timer = loop.scheduleTask(deadline: deadline) {
            ready.fail(ConnectFailure(.timedOut, "\(target): TLS or HTTP/2 did not come up in time"))
          }
          return ready.futureResult.always { _ in timer.cancel() }
            .map { GRPCConnection(connection: connection, role: role, channel: channel, gauge: gauge) }
            .flatMapError { error in
              channel.close().flatMapErrorThrowing { _ in }.flatMapThrowing { throw error }
            }
        }
    }
  }

  private static func bootstrap(
    _ loop: any EventLoop, _ limits: TransportLimits, _ deadline: NIODeadline, _ connection: Connection
  ) -> ClientBootstrap {
    ClientBootstrap(group: loop)
      .connectTimeout(min(max(deadline - .now(), .milliseconds(1)), .hours(24)))
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.recvAllocator, value: SocketTuning.receiveAllocator)
      .channelOption(
        .writeBufferWaterMark,
        value: .init(low: limits.socketLowWaterBytes, high: limits.socketHighWaterBytes)
      )
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(connection) }
      }
  }

  /// False once no new call can be opened: the server drains, or the connection is closed. Any thread.
  package var isUsable: Bool { gauge.isUsable }

  /// Opens a call. Any thread; off the loop the headers leave a moment later.
  ///
  /// - Parameter handler: makes the handler; runs on the loop before anything is sent, and may already
  ///   `send` on the call. The call is closed through the handler in every case, also when the
  ///   connection is gone.
  @discardableResult
  package func open(
    path: String, metadata: Metadata = Metadata(), deadline: NIODeadline? = nil,
    handler: @escaping @Sendable (Call) -> any CallHandler
  ) -> Call {
    let call = Call(
      connection: nil, eventLoop: eventLoop, path: path, metadata: metadata, deadline: deadline, peer: peer,
      isServer: false, limits: connection.limits)
    let (role, connection) = (role, connection)
    @Sendable func start() {
      let made = handler(call)
      // The handler may have ended the call while it was made.
      if let status = call.finalStatus { return made.closed(status, Metadata()) }
      call.handler = made
      role.start(call, on: connection)
    }
    if eventLoop.inEventLoop { start() } else { eventLoop.execute { start() } }
    return call
  }

  /// Takes no new calls from now on and closes when the last of the running ones has ended. Any thread.
  package func closeWhenIdle() {
    let (role, connection) = (role, connection)
    gauge.end()
    eventLoop.execute { role.retire(connection) }
  }

  /// Closes the connection with GOAWAY; open calls end with UNAVAILABLE.
  package func close() async {
    let connection = connection
    gauge.end()
    eventLoop.execute { connection.shutDown("the connection was closed by this side") }
    try? await channel.closeFuture.get()
  }
}
