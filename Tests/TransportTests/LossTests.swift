import NIOCore
import NIOPosix
import SkeinCore
import Testing

@testable import Transport

/// Drain, loss, silence.
@Suite struct LossTests {
  @Test func drainLetsRunningCallsEndAndRefusesNewOnes() async throws {
    let server = try await TestServer.start()
    let client = try await server.connect()
    let (call, running) = client.record("/t.T/Echo") { $0.send(OutboundMessage(head: [1])) }
    await running.wait { $0.messages.count == 1 }
    async let drained: Void = server.server.drain(deadline: .now() + .seconds(20))
    #expect(await eventually("GOAWAY arrives") { !client.isUsable })
    let (_, late) = client.record("/t.T/Echo") { $0.send(OutboundMessage(head: [1])) }
    let status = await late.finished()
    #expect(status.code == .unavailable && status.isDefinitelyUnprocessed)
    // The running call still works, in both directions, and ends with OK.
    call.eventLoop.execute {
      call.send(OutboundMessage(head: [2]))
      call.sendEnd()
    }
    #expect(await running.finished().code == .ok)
    #expect(running.messages.map(\.array) == [[1], [2]])
    await drained
    #expect(server.server.connectionCount == 0)
    await #expect(throws: ConnectFailure.self) { try await server.connect() }
  }

  @Test func drainDeadlineEndsWhatIsLeft() async throws {
    let server = try await TestServer.start()
    let client = try await server.connect()
    let (_, recorder) = client.record("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    #expect(await eventually("it runs") { server.calls.receivedBytes == 1 })
    await server.server.drain(deadline: .now() + .milliseconds(50))
    #expect(await recorder.finished().code == .unavailable)
    #expect(server.calls.ends.map(\.status.code) == [.unavailable])
    #expect(recorder.closedCount == 1)
  }

  /// A relay that can be cut stands between client and server.
  @Test func connectionCutMidCall() async throws {
    let server = try await TestServer.start()
    let relay = try await Relay.start(to: server.port)
    let client = try await GRPCConnection.connect(
      host: "localhost", port: relay.port, tls: TestCertificates.shared.client(), group: TestServer.group)
    let calls = (0..<5).map { _ in client.record("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) } }
    #expect(await eventually("all run") { server.calls.receivedBytes == 5 })
    await relay.cut()
    for (_, recorder) in calls {
      let status = await recorder.finished()
      #expect(status.code == .unavailable && !status.isDefinitelyUnprocessed)
      #expect(recorder.closedCount == 1)
    }
    #expect(await eventually("the server hears of it") { server.calls.ends.count == 5 })
    #expect(server.calls.ends.allSatisfy { $0.status.code == .unavailable })
    #expect(!client.isUsable)
    let (_, late) = client.record("/t.T/Echo") { _ in }
    #expect(await late.finished().isDefinitelyUnprocessed)
    await client.close()
    await server.server.close()
  }

  /// What never left is definite; what left may have been processed.
  @Test func queuedCallsAreDefinitelyUnprocessed() async throws {
    var limits = TransportLimits()
    limits.maxConcurrentCalls = 2
    let server = try await TestServer.start(limits: limits)
    let relay = try await Relay.start(to: server.port)
    let client = try await GRPCConnection.connect(
      host: "localhost", port: relay.port, tls: TestCertificates.shared.client(), group: TestServer.group)
    let calls = (0..<5).map { _ in client.record("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) } }
    #expect(await eventually("two run") { server.calls.receivedBytes == 2 })
    await relay.cut()
    var definite = 0
    for (_, recorder) in calls {
      let status = await recorder.finished()
      #expect(status.code == .unavailable)
      if status.isDefinitelyUnprocessed { definite += 1 }
    }
    #expect(definite == 3)
    await client.close()
    await server.server.close()
  }

  /// GOAWAY names the last stream that the server looked at.
  @Test(arguments: [(0, true), (1, false)]) func goAwayTellsWhatWasProcessed(last: Int, isDefinite: Bool)
    async throws
  {
    let goAway = Frames.frame(7, 0, 0, [0, 0, 0, UInt8(last), 0, 0, 0, 0])
    let reset = Frames.frame(3, 0, 1, [0, 0, 0, 2])
    let fake = try await FakeServer.start(answer: last == 0 ? goAway : goAway + reset)
    let client = try await GRPCConnection.connect(
      host: "localhost", port: fake.port, tls: TestCertificates.shared.client(), group: TestServer.group)
    let (_, recorder) = client.record("/t.T/Echo") {
      $0.send(OutboundMessage(head: [1]))
      $0.sendEnd()
    }
    let status = await recorder.finished()
    #expect(status.isDefinitelyUnprocessed == isDefinite)
    #expect(status.code == (isDefinite ? .unavailable : .internal))
    #expect(!client.isUsable)
    await client.close()
    await fake.close()
  }

  /// The peer vanishes without a FIN: a PING finds out, whichever side sends it.
  @Test(arguments: [true, false]) func halfOpenSocketIsFoundByPing(byServer: Bool) async throws {
    var watchful = TransportLimits()
    watchful.keepaliveInterval = .milliseconds(200)
    watchful.keepaliveTimeout = .milliseconds(1000)
    let server = try await TestServer.start(limits: byServer ? watchful : TransportLimits())
    let relay = try await Relay.start(to: server.port)
    let client = try await GRPCConnection.connect(
      host: "localhost", port: relay.port, tls: TestCertificates.shared.client(),
      limits: byServer ? TransportLimits() : watchful, group: TestServer.group)
    let (_, recorder) = client.record("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    #expect(await eventually("it runs") { server.calls.receivedBytes == 1 })
    relay.freeze()
    if byServer {
      #expect(await eventually("the server finds out") { server.calls.ends.count == 1 })
      #expect(server.events.all.map(\.kind) == [.peerSilent])
      #expect(server.calls.ends.map(\.status.code) == [.unavailable])
    } else {
      let status = await recorder.finished()
      #expect(status.code == .unavailable && status.message.contains("does not answer"))
    }
    await relay.cut()
    await client.close()
    await server.server.close()
  }

  /// PINGs are answered: a quiet connection lives.
  @Test func quietConnectionLives() async throws {
    var limits = TransportLimits()
    limits.keepaliveInterval = .milliseconds(20)
    limits.keepaliveTimeout = .milliseconds(2000)
    let server = try await TestServer.start(limits: limits)
    let client = try await server.connect(limits: limits)
    try await Task.sleep(for: .milliseconds(150))
    let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
    #expect(answer.count == 1)
    await client.close()
    await server.server.close()
  }

  @Test func idleConnectionIsClosed() async throws {
    var limits = TransportLimits()
    limits.idleTimeout = .milliseconds(50)
    let server = try await TestServer.start(limits: limits)
    let client = try await server.connect()
    #expect(await eventually("it is closed") { !client.isUsable && server.server.connectionCount == 0 })
    #expect(server.events.all.map(\.kind) == [.idle])
    await server.server.close()
  }
}

/// Forwards bytes both ways between one client and a server, until it is frozen or cut.
///
/// `@unchecked Sendable`: its channels are on one loop each and only closed or reconfigured here.
final class Relay: @unchecked Sendable {
  let port: Int
  private let listener: any Channel
  private let pairs: Pairs

  private init(_ listener: any Channel, _ pairs: Pairs) {
    self.listener = listener
    self.pairs = pairs
    port = listener.localAddress!.port!
  }

  /// The accepted channels; touched on the one loop that they all live on.
  final class Pairs: @unchecked Sendable {
    var channels: [any Channel] = []
  }

  static func start(to target: Int) async throws -> Relay {
    let loop = TestServer.group.next()
    let pairs = Pairs()
    let listener = try await ServerBootstrap(group: loop, childGroup: loop)
      .childChannelOption(.autoRead, value: false)
      .childChannelInitializer { inner in
        let connected = ClientBootstrap(group: loop)
          .channelInitializer { outer in
            pairs.channels.append(outer)
            return outer.eventLoop.makeCompletedFuture {
              try outer.pipeline.syncOperations.addHandler(Forward(to: inner))
            }
          }
          .connect(host: "127.0.0.1", port: target)
        pairs.channels.append(inner)
        return connected.flatMap { outer in
          inner.eventLoop.makeCompletedFuture {
            try inner.pipeline.syncOperations.addHandler(Forward(to: outer))
          }.flatMap { inner.setOption(.autoRead, value: true) }
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    return Relay(listener, pairs)
  }

  func freeze() {
    listener.eventLoop.execute { [pairs] in
      for channel in pairs.channels { channel.setOption(.autoRead, value: false).whenFailure { _ in } }
    }
  }

  func cut() async {
    try? await listener.close().get()
    let channels = try? await listener.eventLoop.submit { [pairs] in pairs.channels }.get()
    for channel in channels ?? [] { try? await channel.close().get() }
  }

  private final class Forward: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    let to: any Channel
    init(to: any Channel) { self.to = to }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      to.writeAndFlush(unwrapInboundIn(data), promise: nil)
    }
    func channelInactive(context: ChannelHandlerContext) { to.close(promise: nil) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
  }
}
