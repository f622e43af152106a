package import NIOCore
import NIOPosix
package import SkeinCore

/// What a server is made of.
package struct ServerConfiguration: Sendable {
  package var tls: ServerTLS
  package var limits: TransportLimits
  /// Every received message is charged to it, from its 5-byte prefix until its bytes are freed.
  package var budget: MemoryBudget?
  /// Runs on event loops; must not block.
  package var log: TransportLog?
  /// Completes a status with a `cause` before it is sent: code, sentence and details. On event loops.
  package var explain: (@Sendable (GRPCStatus) -> GRPCStatus)?
  /// Seconds since 1970 UTC, against which the certificates of connected clients run out.
  package var wallSeconds: @Sendable () -> Int64 = { SystemClock.wallSeconds }
  /// Spreads the ends of aged connections.
  package var random: any RandomSource = SystemClock.Jitter()

  /// Takes the requests that are not gRPC. nil: they are answered with 405 or 415.
  package var http: (any HTTPDoor)?

  /// Calls carry bearer tokens, and `tls` should leave client certificates optional. nil: the certificate is all.
  package var authentication: ServerAuthentication?

  package init(
    tls: ServerTLS, limits: TransportLimits = TransportLimits(), budget: MemoryBudget? = nil,
    log: TransportLog? = nil, explain: (@Sendable (GRPCStatus) -> GRPCStatus)? = nil,
    http: (any HTTPDoor)? = nil
  ) {
    self.tls = tls
    self.limits = limits
    self.budget = budget
    self.log = log
    self.explain = explain
    self.http = http
  }
}

/// A gRPC server over TLS with client certificates.
///
/// `@unchecked Sendable`: `listeners` is behind the lock of its box; everything else is `let`. The
/// verbs are `async` and may be called from any task.
package final class GRPCServer: Sendable {
  private let state: ServerState
  private let group: any EventLoopGroup
  private let listeners = LockedListeners()

  /// - Parameter router: runs on the loop of the call's connection once its headers have come; nil
  ///   answers UNIMPLEMENTED. It may also `finish` the call and return any handler.
  /// - Throws: `TLSConfigurationError` when a certificate, key or authority is of no use.
  package init(
    configuration: ServerConfiguration, group: any EventLoopGroup,
    router: @escaping @Sendable (Call) -> (any CallHandler)?
  ) throws {
    guard configuration.tls.requiresClientCertificate || configuration.authentication != nil else {
      throw TLSConfigurationError(
        description:
          "a listener without client certificates needs an authenticator; nobody would be asked who he is")
    }
    let context = try TLSContext.server(configuration.tls)
    self.state = ServerState(configuration: configuration, context: context, router: router)
    self.group = group
  }

  /// Listens; port 0 lets the system choose. Returns the port. May be called for several addresses.
  /// - Throws: the `IOError` of bind or listen.
  package func bind(host: String, port: Int) async throws -> Int {
    let state = self.state
    let limits = state.configuration.limits
    let channel = try await ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 1024)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.recvAllocator, value: SocketTuning.receiveAllocator)
      .childChannelOption(
        .writeBufferWaterMark,
        value: .init(low: limits.socketLowWaterBytes, high: limits.socketHighWaterBytes)
      )
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try Self.accept(channel, state) }
      }
      .bind(host: host, port: port).get()
    listeners.add(channel)
    return channel.localAddress?.port ?? port
  }

  /// Uses these certificates, authorities and revocation lists for new connections. All or nothing: on an
  /// error everything stays as it was. Open connections go on, but for those whose client certificate the new
  /// lists revoke: they get GOAWAY and are closed after `TransportLimits.goAwayGrace`. Reads files; any thread
  /// but an event loop.
  package func reload(_ tls: ServerTLS) throws(TLSConfigurationError) {
    let context = try TLSContext.server(tls)
    for connection in state.replace(context) {
      connection.eventLoop.execute { (connection.role as? ServerRole)?.recheck(connection, context) }
    }
  }

  /// What was granted to these identities may not hold any more: their tokens are judged anew, at once where calls
  /// run, and those calls end when the answer is no. A server without `authentication` ignores it. Any thread.
  package func credentialsChanged(concerning: @escaping @Sendable (CallIdentity) -> Bool) {
    state.credentialsChanged(concerning)
  }

  /// Connections that are open or in the handshake.
  package var connectionCount: Int { state.connectionCount }

  /// Stops listening, sends GOAWAY on every connection, lets running calls end until the deadline,
  /// then closes what is left. New calls are refused as not processed.
  package func drain(deadline: NIODeadline) async {
    await listeners.close()
    for connection in state.beginDrain() {
      connection.eventLoop.execute { (connection.role as? ServerRole)?.drain(connection) }
    }
    let loop = group.next()
    let timer = loop.scheduleTask(deadline: deadline) { [state] in
      for connection in state.beginDrain() {
        connection.eventLoop.execute { connection.shutDown("the server is stopping") }
      }
    }
    try? await state.whenEmpty(on: loop).get()
    timer.cancel()
  }

  /// Closes everything now; calls end with UNAVAILABLE.
  package func close() async { await drain(deadline: .now()) }

  private static func accept(_ channel: any Channel, _ state: ServerState) throws {
    let address = SocketTuning.name(channel.remoteAddress)
    let configuration = state.configuration
    guard let context = state.context else { throw ChannelError.operationUnsupported }
    if let reason = state.admit() {
      configuration.log?(TransportEvent(kind: .connectionRefused, remoteAddress: address, detail: reason))
      throw ChannelError.operationUnsupported
    }
    let role = ServerRole(server: state, now: channel.eventLoop.now)
    guard
      let connection = Connection(
        role: role, security: .tls(context, serverName: nil), limits: configuration.limits,
        budget: configuration.budget, log: configuration.log, eventLoop: channel.eventLoop,
        remoteAddress: address)
    else {
      state.handshakeEnded()
      state.release()
      throw ChannelError.operationUnsupported
    }
    state.add(connection)
    try channel.pipeline.syncOperations.addHandler(connection)
  }
}
