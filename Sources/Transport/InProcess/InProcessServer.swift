package import NIOCore
package import SkeinCore

/// The transport without sockets and TLS, for tests of handlers: a server that clients join in memory. All else
/// is the real thing: the same `Call` and `CallHandler`, HTTP/2 frames, flow control, limits and timers.
///
/// Everything runs on the one loop that it is given. On an `EmbeddedEventLoop` or
/// `NIOAsyncTestingEventLoop` the test owns the time and the order is always the same; on a loop of threads it
/// just needs no port. Deadlines are points on `loop.now`.
///
/// ```swift
/// let loop = EmbeddedEventLoop()
/// let server = InProcessServer(on: loop) { call in MyHandler(call) }
/// let connecting = server.connect(as: PeerIdentity(subjectAlternativeURIs: ["skein:default/me"]))
/// loop.run()
/// let client = try connecting.wait()
/// ```
///
/// There is no way from here to a listener: an identity is believed because the caller states it.
package final class InProcessServer: Sendable {
  package let eventLoop: any EventLoop
  private let state: ServerState

  /// - Parameter router: as in `GRPCServer`.
  package init(
    on loop: any EventLoop, limits: TransportLimits = TransportLimits(), budget: MemoryBudget? = nil,
    log: TransportLog? = nil, explain: (@Sendable (GRPCStatus) -> GRPCStatus)? = nil,
    wallSeconds: (@Sendable () -> Int64)? = nil, random: (any RandomSource)? = nil,
    authentication: ServerAuthentication? = nil,
    router: @escaping @Sendable (Call) -> (any CallHandler)?
  ) {
    let nothing = PEMSource.bytes([])
    var configuration = ServerConfiguration(
      tls: ServerTLS(certificateChain: nothing, privateKey: nothing, clientAuthorities: nothing),
      limits: limits, budget: budget, log: log, explain: explain)
    if let wallSeconds { configuration.wallSeconds = wallSeconds }
    if let random { configuration.random = random }
    configuration.authentication = authentication
    eventLoop = loop
    state = ServerState(configuration: configuration, context: nil, router: router)
  }

  /// As `GRPCServer.credentialsChanged`.
  package func credentialsChanged(concerning: @escaping @Sendable (CallIdentity) -> Bool) {
    state.credentialsChanged(concerning)
  }

  package var connectionCount: Int { state.connectionCount }

  /// A connection of a client that is who `identity` says. Any thread.
  /// - Returns: fails with `ConnectFailure` when the server refuses it.
  package func connect(
    as identity: PeerIdentity = PeerIdentity(), limits: TransportLimits = TransportLimits(),
    budget: MemoryBudget? = nil
  ) -> EventLoopFuture<GRPCConnection> {
    eventLoop.flatSubmit { [self] in
      do {
        return try join(identity, limits, budget)
      } catch {
        return eventLoop.makeFailedFuture(error)
      }
    }
  }

  private func join(
    _ identity: PeerIdentity, _ limits: TransportLimits, _ budget: MemoryBudget?
  ) throws -> EventLoopFuture<GRPCConnection> {
    if let refusal = state.admit() { throw ConnectFailure(.closed, refusal) }
    let configuration = state.configuration
    let ready = eventLoop.makePromise(of: Void.self)
    let gauge = ConnectionGauge()
    let role = ClientRole(host: "in-process", ready: ready, gauge: gauge, onEnd: {})
    var caller = identity
    if caller.remoteAddress.isEmpty { caller.remoteAddress = "in-process" }
    guard
      let there = Connection(
        role: ServerRole(server: state, now: eventLoop.now), security: .memory(caller),
        limits: configuration.limits,
        budget: configuration.budget, log: configuration.log, eventLoop: eventLoop,
        remoteAddress: caller.remoteAddress),
      let here = Connection(
        role: role, security: .memory(PeerIdentity(commonName: "in-process")), limits: limits, budget: budget,
        log: nil, eventLoop: eventLoop, remoteAddress: "in-process")
    else {
      ready.fail(ChannelError.operationUnsupported)
      state.handshakeEnded()
      state.release()
      throw ConnectFailure(.tls, "out of memory")
    }
    state.add(there)
    let (client, server) = MemoryChannel.pair(eventLoop, limits)
    try server.activate(there)
    try client.activate(here)
    return ready.futureResult.map {
      GRPCConnection(connection: here, role: role, channel: client, gauge: gauge)
    }
  }

  /// As `GRPCServer.drain`; completes when the last connection has gone. Any thread.
  package func drain(deadline: NIODeadline) -> EventLoopFuture<Void> {
    eventLoop.flatSubmit { [self] in
      for connection in state.beginDrain() { (connection.role as? ServerRole)?.drain(connection) }
      let timer = eventLoop.scheduleTask(deadline: deadline) { [self] in
        for connection in state.beginDrain() { connection.shutDown("the server is stopping") }
      }
      return state.whenEmpty(on: eventLoop).always { _ in timer.cancel() }
    }
  }
}
