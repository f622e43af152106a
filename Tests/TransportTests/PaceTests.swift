import NIOCore
import SkeinCore
import Testing

@testable import Transport

/// Peers that are slow on purpose, in every phase.
@Suite struct PaceTests {
  private static let start = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Frames.frame(4, 0, 0, [])

  /// Sends one part after the other with a pause, until the connection ends.
  private func trickle(_ peer: RawTLSPeer, _ parts: [[UInt8]], every milliseconds: Int) -> Task<Void, Never> {
    Task {
      for part in parts where !Task.isCancelled {
        peer.send(part)
        try? await Task.sleep(for: .milliseconds(milliseconds))
      }
    }
  }

  /// A byte now and then is progress, but not enough.
  @Test func trickledMessage() async throws {
    let budget = MemoryBudget(limit: 1 << 20)
    var limits = TransportLimits()
    limits.messageStallTimeout = .milliseconds(150)
    limits.minBytesPerSecond = 10_000
    let server = try await TestServer.start(limits: limits, budget: budget)
    let peer = try await RawTLSPeer.connect(server.port)
    peer.send(
      Self.start + Frames.frame(1, 4, 1, Frames.request("/t.T/Echo"))
        + Frames.frame(0, 0, 1, [0, 0, 4, 0, 0]))
    let task = trickle(peer, (0..<400).map { _ in Frames.frame(0, 0, 1, [7]) }, every: 10)
    let text = await peer.response(with: "grpc-status")
    #expect(text.contains("grpc-status=4"), "\(text)")
    task.cancel()
    #expect(await eventually("the memory is given back") { budget.reserved == 0 })
    peer.close()
    await server.server.close()
  }

  /// Slow, but above the least rate: it may take as long as it takes. Below it, it may not. On a clock of our
  /// own: 10 bytes a tenth of a second.
  @Test(arguments: [(90, true), (110, false)]) func steadyMessage(least: Int, isLeftAlone: Bool) throws {
    var limits = TransportLimits()
    limits.messageStallTimeout = .seconds(5)
    limits.minBytesPerSecond = least
    let cell = try ServerCell("open", limits: limits)
    cell.send(Frames.frame(0, 0, 1, [0, 0, 0, 39, 16]))
    for _ in 0..<1000 {
      cell.send(Frames.frame(0, 0, 1, [UInt8](repeating: 7, count: 10)))
      cell.pass(.milliseconds(100))
    }
    #expect(cell.log.receivedBytes == (isLeftAlone ? 10_000 : 0))
    #expect(cell.log.ends.map(\.status.cause) == (isLeftAlone ? [] : [.peerTooSlow]))
    #expect(cell.heard().contains("status1=4") == !isLeftAlone)
    #expect(cell.end() == "")
  }

  @Test(arguments: [
    "nothing after TLS", "half a preface", "no SETTINGS", "half a frame header", "half a HEADERS",
    "no END_HEADERS",
    "half a PING",
  ]) func incompleteFrames(_ phase: String) async throws {
    var limits = TransportLimits()
    limits.headerTimeout = .milliseconds(100)
    let server = try await TestServer.start(limits: limits)
    let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    let request = Frames.request("/t.T/Echo")
    let bytes: [UInt8] =
      switch phase {
      case "nothing after TLS": []
      case "half a preface": Array(preface.prefix(10))
      case "no SETTINGS": preface
      case "half a frame header": Self.start + [0, 0, 8, 6]
      case "half a HEADERS": Self.start + Array(Frames.frame(1, 4, 1, request).dropLast(5))
      case "no END_HEADERS": Self.start + Frames.frame(1, 0, 1, request)
      default: Self.start + Array(Frames.frame(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]).dropLast(3))
      }
    let peer = try await RawTLSPeer.connect(server.port)
    peer.send(bytes)
    let closed = await peer.closesWithin(seconds: 5)
    #expect(closed)
    #expect(server.events.all.map(\.kind) == [.tooSlow])
    await server.server.close()
  }

  /// CONTINUATION after CONTINUATION keeps a block open; time counts for the block, not for each frame.
  @Test func trickledHeaderBlock() async throws {
    var limits = TransportLimits()
    limits.headerTimeout = .milliseconds(150)
    limits.maxContinuations = 1000
    let server = try await TestServer.start(limits: limits)
    let peer = try await RawTLSPeer.connect(server.port)
    peer.send(Self.start + Frames.frame(1, 0, 1, Frames.request("/t.T/Echo")))
    let task = trickle(
      peer, (0..<500).map { _ in Frames.frame(9, 0, 1, Frames.literal("a", "b")) }, every: 10)
    let closed = await peer.closesWithin(seconds: 4)
    #expect(closed)
    task.cancel()
    #expect(server.events.all.map(\.kind) == [.tooSlow])
    await server.server.close()
  }

  @Test func trickledHandshake() async throws {
    var limits = TransportLimits()
    limits.handshakeTimeout = .milliseconds(200)
    let server = try await TestServer.start(limits: limits)
    let peer = try await RawPeer.connect(server.port)
    // The beginning of a ClientHello of 400 bytes, byte by byte.
    let task = Task {
      for byte in [22, 3, 1, 1, 144, 1, 0, 1, 140] + [UInt8](repeating: 3, count: 300) where !Task.isCancelled
      {
        peer.send([byte])
        try? await Task.sleep(for: .milliseconds(10))
      }
    }
    await peer.closed()
    task.cancel()
    #expect(server.events.all.map(\.detail) == ["the TLS handshake took too long"])
    await server.server.close()
  }

  /// It asked for a flood and grants no credit.
  @Test func answersThatNobodyReads() async throws {
    var limits = TransportLimits()
    limits.outboundStallTimeout = .milliseconds(120)
    let server = try await TestServer.start(limits: limits)
    let peer = try await RawTLSPeer.connect(server.port)
    let request = Array("100 10000".utf8)
    peer.send(
      Self.start + Frames.frame(1, 4, 1, Frames.request("/t.T/Flood"))
        + Frames.frame(0, 0, 1, [0, 0, 0, 0, UInt8(request.count)] + request))
    let text = await peer.response(with: "reset=")
    #expect(text.contains("reset=8"), "CANCEL: \(text)")
    // The handler had finished: what was queued is what nobody reads.
    peer.close()
    await server.server.close()
    #expect(server.server.connectionCount == 0)
  }

  /// Grants a byte of credit now and then.
  @Test func answersThatAreReadByteByByte() async throws {
    var limits = TransportLimits()
    limits.outboundStallTimeout = .milliseconds(150)
    limits.minBytesPerSecond = 10_000
    let server = try await TestServer.start(limits: limits)
    let peer = try await RawTLSPeer.connect(server.port)
    let request = Array("3000 10000".utf8)
    peer.send(
      Self.start + Frames.frame(1, 4, 1, Frames.request("/t.T/Flood"))
        + Frames.frame(0, 0, 1, [0, 0, 0, 0, UInt8(request.count)] + request))
    let task = trickle(peer, (0..<400).map { _ in Frames.frame(8, 0, 1, [0, 0, 0, 1]) }, every: 10)
    let text = await peer.response(with: "reset=")
    #expect(text.contains("reset=8"), "\(text)")
    task.cancel()
    #expect(server.calls.ends.map(\.status.cause) == [.peerTooSlow])
    peer.close()
    await server.server.close()
  }

  /// The socket itself is not read, while the peer goes on sending.
  @Test func aSocketThatNobodyReads() async throws {
    var limits = TransportLimits()
    limits.outboundStallTimeout = .milliseconds(200)
    limits.socketHighWaterBytes = 64 << 10
    limits.socketLowWaterBytes = 16 << 10
    let server = try await TestServer.start(limits: limits)
    let relay = try await Relay.start(to: server.port)
    var wide = TransportLimits()
    wide.streamWindowBytes = 1 << 30
    wide.connectionWindowBytes = 1 << 30
    let client = try await GRPCConnection.connect(
      host: "localhost", port: relay.port, tls: TestCertificates.shared.client(), limits: wide,
      group: TestServer.group)
    let (_, recorder) = client.record("/t.T/Flood", keeps: false) { call in
      call.send(OutboundMessage(head: Array("1000000 10000".utf8)))
    }
    await recorder.wait { $0.bytes > 0 }
    relay.freeze()
    #expect(await eventually("the server gives up") { server.server.connectionCount == 0 })
    #expect(server.events.all.map(\.kind) == [.tooSlow])
    await relay.cut()
    await client.close()
    await server.server.close()
  }

  /// A reader that is merely paused while nothing waits for it is left alone.
  @Test func aQuietStreamIsLeftAlone() async throws {
    var limits = TransportLimits()
    limits.outboundStallTimeout = .milliseconds(30)
    limits.messageStallTimeout = .milliseconds(30)
    limits.headerTimeout = .milliseconds(30)
    let server = try await TestServer.start(limits: limits)
    let client = try await server.connect()
    let (call, recorder) = client.record("/t.T/Echo") { $0.send(OutboundMessage(head: [1])) }
    await recorder.wait { $0.messages.count == 1 }
    try await Task.sleep(for: .milliseconds(200))
    call.eventLoop.execute {
      call.send(OutboundMessage(head: [2]))
      call.sendEnd()
    }
    #expect(await recorder.finished().code == .ok)
    #expect(server.events.all.isEmpty)
    await client.close()
    await server.server.close()
  }

  /// The remaining flood that nghttp2 does not count.
  @Test func windowUpdateFloodIsCut() async throws {
    var limits = TransportLimits()
    limits.junkFrameBurst = 100
    limits.junkFramesPerSecond = 1
    let server = try await TestServer.start(limits: limits)
    let peer = try await RawTLSPeer.connect(server.port)
    peer.send(Self.start + (0..<2000).flatMap { _ in Frames.frame(8, 0, 0, [0, 0, 0, 1]) })
    let closed = await peer.closesWithin(seconds: 5)
    #expect(closed)
    #expect(server.events.all.map(\.kind) == [.abuse])
    await server.server.close()
  }
}
