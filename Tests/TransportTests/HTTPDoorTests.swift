import NIOCore
import SkeinCore
import Testing

@testable import Transport

/// Requests that are not gRPC, through a door to the handlers of gRPC.
@Suite struct HTTPDoorTests {
  private static let start = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Frames.frame(4, 0, 0, [])

  private func serve(
    limits: TransportLimits = TransportLimits(), budget: MemoryBudget? = nil, timeout: TimeAmount? = nil,
    opened: CallLog = CallLog()
  ) async throws -> TestServer {
    try await TestServer.start(limits: limits, budget: budget) {
      $0.http = StubDoor(timeout: timeout, opened: opened)
    }
  }

  /// Header fields of the response to a request of these frames on stream 1.
  private func answer(
    _ server: TestServer, _ path: String, _ frames: [UInt8], method: String = "POST", extra: [UInt8] = [],
    ends: Bool = false
  ) async throws -> String {
    let peer = try await RawTLSPeer.connect(server.port)
    let head = Frames.request(path, method: method, contentType: "application/json") + extra
    peer.send(Self.start + Frames.frame(1, ends ? 5 : 4, 1, head) + frames)
    defer { peer.close() }
    return await peer.response(with: ":status")
  }

  @Test func theSameHandlersAnswer() async throws {
    let server = try await serve()
    let text = try await answer(server, "/v1/Echo", Frames.frame(0, 1, 1, Array("hello".utf8)))
    #expect(
      text.contains(":status=200") && text.contains("content-length=5") && text.contains("x-code=OK"),
      "\(text)")
    #expect(server.calls.receivedBytes == 5)
    // In pieces, and with an announced length.
    let parts = Frames.frame(0, 0, 1, [1]) + Frames.frame(0, 0, 1, [2, 3]) + Frames.frame(0, 1, 1, [])
    let pieces = try await answer(server, "/v1/Echo", parts, extra: Frames.literal("content-length", "3"))
    #expect(pieces.contains("content-length=3"), "\(pieces)")
    // HEAD has the length and no body; a body that is refused never reaches the handler.
    #expect(try await answer(server, "/v1/Echo", [], method: "HEAD", ends: true).contains("content-length=0"))
    let refused = try await answer(server, "/v1/Count", Frames.frame(0, 1, 1, Array("bad".utf8)))
    #expect(refused.contains(":status=400"), "\(refused)")
    #expect(server.calls.receivedBytes == 8)
    await server.server.close()
  }

  @Test func whatIsNotTheDoorsStays() async throws {
    let server = try await serve()
    #expect(try await answer(server, "/t.T/Echo", []).contains(":status=415"))
    #expect(try await answer(server, "/t.T/Echo", [], method: "GET").contains(":status=405"))
    #expect(
      try await answer(server, "/v1/NoSuch", Frames.frame(0, 1, 1, [])).contains("x-code=UNIMPLEMENTED"))
    #expect(try await answer(server, "/v1/nothing", []).contains(":status=404"))
    await server.server.close()
  }

  /// One byte over the limit: the answer comes before the end of the request, nothing is kept, and the
  /// connection goes on.
  @Test func bodyOverTheLimit() async throws {
    let budget = MemoryBudget(limit: 1 << 20)
    let server = try await serve(budget: budget)
    let peer = try await RawTLSPeer.connect(server.port)
    let head = Frames.request("/v1/Echo", contentType: "application/json")
    peer.send(
      Self.start + Frames.frame(1, 4, 1, head) + Frames.frame(0, 0, 1, [UInt8](repeating: 7, count: 1_001)))
    let text = await peer.response(with: "reset=0")
    #expect(text.contains("x-code=RESOURCE_EXHAUSTED") && text.contains("reset=0"), "\(text)")
    #expect(budget.reserved == 0)
    peer.send(Frames.frame(1, 4, 3, head) + Frames.frame(0, 1, 3, [1]))
    #expect(await peer.response(with: "x-code=OK").contains("x-code=OK"))
    peer.close()
    await server.server.close()
  }

  @Test func bodyThatComesTooSlowly() async throws {
    let budget = MemoryBudget(limit: 1 << 20)
    var limits = TransportLimits()
    limits.messageStallTimeout = .milliseconds(100)
    let server = try await serve(limits: limits, budget: budget)
    for frames in [[], Frames.frame(0, 0, 1, [1, 2, 3])] {
      #expect(try await answer(server, "/v1/Echo", frames).contains("x-code=DEADLINE_EXCEEDED"))
    }
    #expect(await eventually("the memory is given back") { budget.reserved == 0 })
    await server.server.close()
  }

  @Test func deadline() async throws {
    let server = try await serve(timeout: .milliseconds(50))
    let text = try await answer(server, "/v1/Hold", Frames.frame(0, 1, 1, [1]))
    #expect(text.contains("x-code=DEADLINE_EXCEEDED"), "\(text)")
    #expect(server.calls.ends.map(\.status.code) == [.deadlineExceeded], "the handler hears it")
    await server.server.close()
  }

  @Test func cancellation() async throws {
    let server = try await serve()
    let peer = try await RawTLSPeer.connect(server.port)
    let head = Frames.request("/v1/Hold", contentType: "application/json")
    peer.send(Self.start + Frames.frame(1, 4, 1, head) + Frames.frame(0, 1, 1, [1]))
    #expect(await eventually("the handler has the message") { server.calls.receivedBytes == 1 })
    peer.send(Frames.frame(3, 0, 1, [0, 0, 0, 8]))
    #expect(await eventually("the handler hears it") { server.calls.ends.map(\.status.code) == [.cancelled] })
    peer.close()
    await server.server.close()
  }

  /// A request that runs when the server drains is answered.
  @Test func drain() async throws {
    let opened = CallLog()
    let server = try await serve(opened: opened)
    let peer = try await RawTLSPeer.connect(server.port)
    let head = Frames.request("/v1/Echo", contentType: "application/json")
    peer.send(Self.start + Frames.frame(1, 4, 1, head) + Frames.frame(0, 0, 1, [1]))
    #expect(await eventually("the request has begun") { opened.receivedBytes == 1 })
    async let drained: Void = server.server.drain(deadline: .now() + .seconds(10))
    peer.send(Frames.frame(0, 1, 1, [2]))
    #expect(await peer.response(with: "x-code").contains("x-code=OK"))
    peer.close()
    await drained
  }
}

/// `/v1/NAME` is `/t.T/NAME`; `/v1/nothing` is nothing.
struct StubDoor: HTTPDoor {
  let timeout: TimeAmount?
  /// Counts the requests.
  let opened: CallLog

  func owns(_ target: String) -> Bool { target.hasPrefix("/v1/") }

  func open(_ request: HTTPRequest) -> HTTPOpening {
    opened.got(1)
    guard request.target != "/v1/nothing" else { return .answer(HTTPResponse(404)) }
    let name = request.target.dropFirst("/v1/".count)
    return .call(
      HTTPCallPlan(
        path: "/t.T/\(name)", deadline: timeout.map { .now() + $0 }, bodyLimit: 1_000,
        translator: StubTranslator()))
  }
}

/// The body is the message, the message is the body.
private final class StubTranslator: HTTPTranslator {
  func request(_ body: SharedBytes, done: @escaping @Sendable (HTTPTranslation) -> Void) {
    done(body == SharedBytes(Array("bad".utf8)) ? .refused(HTTPResponse(400)) : .message(body))
  }

  func response(
    _ message: OutboundMessage?, _ status: GRPCStatus, done: @escaping @Sendable (HTTPResponse) -> Void
  ) {
    let body = message.map { $0.parts.reduce($0.head) { $0 + $1.array } } ?? []
    done(
      HTTPResponse(
        status.code == .ok ? 200 : 500, headers: [("x-code", status.code.name)], body: SharedBytes(body)))
  }
}
