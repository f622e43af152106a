import NIOCore
import SkeinCore
import Testing

@testable import Transport

/// Frames that are wrong in themselves, and seeded sequences of any frames in any order.
@Suite(.serialized) struct StateTableRandomTests {
  private static func limits() -> TransportLimits {
    var limits = TransportLimits()
    limits.streamWindowBytes = 65_535
    limits.connectionWindowBytes = 1 << 20
    return limits
  }

  @Test func malformedFramesToAServer() async throws {
    let server = try await CountedServer.start(limits: Self.limits())
    for frame in MalformedFrame.both + MalformedFrame.toServer {
      let scene = try await ServerScene.stage(.open, server)
      let outcome = await FrameProbe.outcome(of: frame.bytes, on: frame.stream, scene.peer) { server.counts }
      #expect(outcome == frame.outcome, "\(frame.name) to a server")
      scene.peer.close()
    }
    await expectNothingLeft(server)
  }

  @Test func malformedFramesToAClient() async throws {
    let listener = try await FrameListener.start()
    for frame in MalformedFrame.both + MalformedFrame.toClient {
      let scene = try await ClientScene.stage(.answered, listener, limits: Self.limits())
      let outcome = await FrameProbe.outcome(of: frame.bytes, on: frame.stream, scene.peer) { scene.effects }
      #expect(outcome == frame.outcome, "\(frame.name) to a client")
      scene.peer.close()
      await scene.connection?.close()
      #expect(
        scene.recorders.allSatisfy { $0.closedCount == 1 }, "\(frame.name): each call ends exactly once")
    }
    await listener.close()
  }

  /// DATA on a stream that is gone costs its sender credit; the connection gets it back, or it would dry up.
  @Test(arguments: [ServerState.closed, .closedByServer, .closedByClient, .skipped])
  func ignoredDataReturnsItsCredit(state: ServerState) async throws {
    var limits = Self.limits()
    limits.connectionWindowBytes = 65_535
    let server = try await CountedServer.start(limits: limits)
    let scene = try await ServerScene.stage(state, server)
    for _ in 0..<10 {
      scene.peer.send(Frames.frame(0, 0, scene.stream, [UInt8](repeating: 0, count: 16_000)))
      try #require(await FrameProbe.exchange(scene.peer), "the connection goes on")
    }
    scene.peer.close()
    await expectNothingLeft(server)
  }

  @Test func anySequenceToAServer() async throws {
    let server = try await CountedServer.start(limits: Self.limits())
    print("seeds 0x5EED1000 to 0x5EED112B")
    for seed in UInt64(0x5EED_1000)..<0x5EED_112C {
      var random = SeededGenerator(seed: seed)
      let peer = try await FramePeer.connect(server.port)
      if Int.random(in: 0..<50, using: &random) > 0 { peer.send(FramePeer.preface) }
      if Int.random(in: 0..<50, using: &random) > 0 { peer.send(Frames.frame(4, 0, 0, [])) }
      for stream: UInt32 in [1, 3] where Bool.random(using: &random) {
        peer.send(
          Frames.frame(1, 4, stream, Frames.request(Bool.random(using: &random) ? "/t.T/Hold" : "/t.T/Echo")))
      }
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        peer.send(
          (0..<Int.random(in: 1...10, using: &random)).flatMap { _ in Self.frame(toServer: true, &random) })
      }
      if Bool.random(using: &random) {
        peer.endOutput()
        #expect(await peer.hears { $0.isClosed }, "seed \(seed): the server closes its side")
      } else {
        peer.close()
      }
    }
    let client = try await GRPCConnection.connect(
      host: "localhost", port: server.port, tls: TestCertificates.shared.client(), group: FramePeer.group)
    let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1, 2]))
    #expect(answer.array == [1, 2])
    await client.close()
    #expect(server.counts.begun > 100, "the sequences reach handlers: \(server.counts)")
    await expectNothingLeft(server)
  }

  @Test func anySequenceToAClient() async throws {
    let listener = try await FrameListener.start()
    let budget = MemoryBudget(limit: 64 << 20)
    print("seeds 0x5EED2000 to 0x5EED2077")
    var calls: [WeakCall] = []
    for seed in UInt64(0x5EED_2000)..<0x5EED_2078 {
      var random = SeededGenerator(seed: seed)
      let port = listener.port
      let connecting = Task {
        try await GRPCConnection.connect(
          host: "localhost", port: port, tls: TestCertificates.shared.client(), limits: Self.limits(),
          budget: budget,
          group: FramePeer.group)
      }
      let peer = try await listener.accept()
      peer.send(Frames.frame(4, 0, 0, []))
      let connection = try await connecting.value
      var recorders: [Recorder] = []
      for index in 0..<3 {
        let (call, recorder) = connection.record("/t.T/M") {
          $0.send(OutboundMessage(head: [1]))
          if index > 0 { $0.sendEnd() }
        }
        calls.append(WeakCall(call))
        recorders.append(recorder)
      }
      _ = await peer.hears { $0.frames.contains { $0.stream == 5 } }
      for stream: UInt32 in [1, 3] where Bool.random(using: &random) {
        peer.send(Frames.frame(1, 4, stream, ClientScene.headers))
      }
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        peer.send(
          (0..<Int.random(in: 1...10, using: &random)).flatMap { _ in Self.frame(toServer: false, &random) })
      }
      if Bool.random(using: &random) { peer.endOutput() } else { _ = await FrameProbe.exchange(peer) }
      await connection.close()
      peer.close()
      for recorder in recorders {
        _ = await eventually("the call ends") { recorder.closedCount > 0 }
        #expect(recorder.closedCount == 1, "seed \(seed): each call ends exactly once")
      }
    }
    await listener.close()
    #expect(await eventually("no call is left") { calls.allSatisfy { $0.call == nil } })
    #expect(budget.reserved == 0)
  }

  // MARK: Any frame

  /// Mostly sound frames; one in four has its payload, flags or stream changed.
  private static func frame(toServer: Bool, _ random: inout SeededGenerator) -> [UInt8] {
    let kind = FrameKind.allCases.randomElement(using: &random) ?? .data
    let usesConnection = [.settings, .settingsAck, .ping, .pingAck, .goAway, .origin, .priorityUpdate]
      .contains(kind)
    let stream: UInt32 = usesConnection ? 0 : [1, 1, 3, 3, 5, 7].randomElement(using: &random) ?? 1
    // Most of what ends the connection is left out, so that more is reached.
    if [.pushPromise, .continuation, .settingsAck, .goAway].contains(kind),
      Int.random(in: 0..<8, using: &random) > 0
    {
      return Frames.frame(6, 0, 0, [0, 0, 0, 0, 0, 0, 0, 1])
    }
    let blocks =
      toServer
      ? ["/t.T/Hold", "/t.T/Deny", "/t.T/Echo"].map { Frames.request($0) } + [
        Frames.literal("x-trailer", "1")
      ]
      : [ClientScene.headers, ClientScene.headers + ClientScene.trailers, ClientScene.trailers]
    var bytes = kind.bytes(stream, blocks.randomElement(using: &random) ?? [])
    switch Int.random(in: 0..<16, using: &random) {
    case 0: bytes[4] = UInt8.random(in: 0...255, using: &random)
    case 1:
      bytes[8] = UInt8.random(in: 0...9, using: &random)
    case 2 where bytes.count > 9:
      bytes[Int.random(in: 9..<bytes.count, using: &random)] ^=
        UInt8(1) << UInt8.random(in: 0...7, using: &random)
    case 3:
      bytes.append(0)
      bytes[2] &+= 1
    default: break
    }
    return bytes
  }

  private func expectNothingLeft(_ server: CountedServer) async {
    await server.server.close()
    #expect(server.server.connectionCount == 0)
    #expect(await eventually("no handler is left") { server.handlersAlive == 0 })
    #expect(server.budget.reserved == 0)
  }
}

private struct WeakCall {
  weak var call: Call?
  init(_ call: Call) { self.call = call }
}
