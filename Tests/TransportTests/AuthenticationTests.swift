import NIOCore
import NIOEmbedded
import SkeinCore
import Synchronization
import Testing

@testable import Transport

/// Calls that show a token, on a clock that stands still.
@Suite struct AuthenticationTests {
  private final class World {
    let loop = EmbeddedEventLoop()
    let log = CallLog()
    let events = EventLog()
    let stub: StubAuthenticator
    let server: InProcessServer
    private(set) var client: GRPCConnection!

    init(
      _ stub: StubAuthenticator = StubAuthenticator(), limits: TransportLimits = TransportLimits(),
      budget: MemoryBudget? = nil, _ change: (inout AuthenticationLimits) -> Void = { _ in }
    ) throws {
      self.stub = stub
      let (log, events) = (log, events)
      var authentication = ServerAuthentication(authenticator: stub)
      change(&authentication.limits)
      let now = Clock()
      self.now = now
      authentication.wallMilliseconds = { now.value }
      server = InProcessServer(
        on: loop, limits: limits, budget: budget, log: { events.add($0) }, authentication: authentication
      ) { call in
        #expect(call.peer.bearer != nil, "no handler is made before the token was judged")
        #expect(call.metadata["authorization"] == nil, "the token goes no further")
        return TestServer.route(call, log)
      }
      try connect()
    }
    let now: Clock
    final class Clock: Sendable {
      private let milliseconds = Mutex<Int64>(1_000_000)
      var value: Int64 { milliseconds.withLock { $0 } }
      func pass(_ amount: Int64) { milliseconds.withLock { $0 += amount } }
    }

    func connect() throws {
      let connecting = server.connect(as: PeerIdentity(subjectAlternativeURIs: ["skein:default/forged"]))
      loop.run()
      client = try connecting.wait()
    }

    func call(
      _ path: String, _ token: String?, _ body: @escaping @Sendable (Call) -> Void
    ) -> (Call, Recorder) {
      var metadata = Metadata()
      if let token { metadata.append("authorization", "Bearer \(token)") }
      return call(path, metadata, body)
    }

    func call(_ body: @escaping @Sendable (Call) -> Void) -> (Call, Recorder) {
      call("/t.T/Echo", "good", body)
    }

    func call(_ path: String, _ body: @escaping @Sendable (Call) -> Void) -> (Call, Recorder) {
      call(path, "good", body)
    }

    func call(
      _ path: String, _ metadata: Metadata, _ body: @escaping @Sendable (Call) -> Void
    ) -> (Call, Recorder) {
      let box = Mutex<Recorder?>(nil)
      let call = client.open(path: path, metadata: metadata) { call in
        let recorder = Recorder(call)
        box.withLock { $0 = recorder }
        body(call)
        return recorder
      }
      loop.run()
      return (call, box.withLock { $0! })
    }

    func pass(_ milliseconds: Int64) {
      now.pass(milliseconds)
      loop.advanceTime(by: .milliseconds(milliseconds))
      loop.run()
    }
  }

  private static func echo(_ call: Call) {
    call.send(OutboundMessage(head: [1, 2, 3]))
    call.sendEnd()
  }

  @Test func aGoodTokenIsAskedAboutOnce() throws {
    let world = try World()
    for _ in 0..<5 {
      let (_, recorder) = world.call(Self.echo)
      #expect(recorder.code == .ok && recorder.messages.map(\.array) == [[1, 2, 3]])
    }
    #expect(world.stub.asked == ["good"])
  }

  @Test func everythingElseIsDenied() throws {
    let world = try World { limits in limits.refusalBurst = 100_000 }
    var wrong: [Metadata] = [Metadata()]
    for value in [
      "", "Bearer", "Bearer ", "Bearer  good", " Bearer good", "Basic good", "good", "Bearer good good",
      "Bearer good,good", "Bearer=good", "Bearer\tgood", "Bearer good ", "Bearer goo", "Bearer gooD",
      "Bearer good=", "Bearer \"good\"", "Bearer g\u{00f6}od",
      "Bearer " + String(repeating: "a", count: CallCredential.maximumBytes + 1),
      "Bearer " + String(repeating: "a", count: CallCredential.maximumBytes),
    ] {
      var metadata = Metadata()
      metadata.append("authorization", value)
      wrong.append(metadata)
    }
    for pair in [["good", "good"], ["good", "bad"], ["bad", "good"]] {
      var metadata = Metadata()
      for token in pair { metadata.append("authorization", "Bearer \(token)") }
      wrong.append(metadata)
    }
    for name in ["authorization-bin", "x-authorization", "proxy-authorization", "cookie"] {
      var metadata = Metadata()
      metadata.append(name, "Bearer good")
      wrong.append(metadata)
    }
    for metadata in wrong {
      let (_, recorder) = world.call("/t.T/Echo", metadata, Self.echo)
      // What HTTP/2 forbids in a value, nghttp2 refuses by itself: the client sees a reset.
      #expect(recorder.code == .unauthenticated || recorder.code == .internal, "\(metadata)")
      #expect(recorder.messages.isEmpty)
    }
    #expect(world.log.receivedBytes == 0 && world.log.ends.isEmpty, "no handler was made")
    #expect(!world.stub.asked.contains("good"))
    // The scheme is the same in either case (RFC 9110, 11.1).
    let (_, recorder) = world.call("/t.T/Echo", ["authorization": "bEARER good"], Self.echo)
    #expect(recorder.code == .ok)
  }

  @Test func callsWaitForTheAnswerInOrder() throws {
    let world = try World()
    world.stub.hold(true)
    let calls = (0..<3).map { index in
      world.call { call in
        for byte in 0..<10 { call.send(OutboundMessage(head: [UInt8(index * 10 + byte)])) }
        call.sendEnd()
      }
    }
    let (_, other) = world.call("/t.T/Echo", "bad", Self.echo)
    #expect(world.stub.asked == ["good", "bad"] && world.log.receivedBytes == 0)
    world.stub.answerAll()
    world.loop.run()
    for (index, (_, recorder)) in calls.enumerated() {
      #expect(recorder.code == .ok)
      #expect(recorder.messages.map(\.array) == (0..<10).map { [UInt8(index * 10 + $0)] })
    }
    #expect(other.code == .unauthenticated)
  }

  /// A stranger's bytes are held within one window in all, whatever it sends, and given back.
  @Test func whatIsHeldIsBounded() throws {
    let budget = MemoryBudget(limit: 64 << 20)
    let world = try World(budget: budget)
    world.stub.hold(true)
    let calls = (0..<8).map { _ in
      world.call("/t.T/Count") { call in
        call.send(OutboundMessage(head: [UInt8](repeating: 7, count: 1 << 20)))
        call.sendEnd()
      }
    }
    #expect(budget.reserved == 0, "a prefix of a stranger reserves nothing")
    let unsent = calls.reduce(0) { $0 + $1.0.queuedBytes }
    #expect(8 * ((1 << 20) + 5) - unsent <= 2 * 65_535, "what was taken from it")
    world.stub.answerAll()
    world.loop.run()
    for (_, recorder) in calls {
      #expect(recorder.messages.map { String(decoding: $0.array, as: UTF8.self) } == ["1 1048576"])
    }
    #expect(budget.reserved == 0)
  }

  @Test func theBudgetOfStrangersRunsOut() throws {
    let world = try World { $0.heldBytes = 32 << 10 }
    world.stub.hold(true)
    let (_, small) = world.call { $0.send(OutboundMessage(head: [1])) }
    let (_, second) = world.call { $0.send(OutboundMessage(head: [1])) }
    let (_, third) = world.call { $0.send(OutboundMessage(head: [1])) }
    #expect(small.code == nil && second.code == nil && third.code == .resourceExhausted)
    world.stub.answerAll()
    world.loop.run()
    #expect(small.messages.count == 1 && second.messages.count == 1)
  }

  @Test func aStrangerMayOpenFewCalls() throws {
    let world = try World { $0.maxCalls = 4 }
    world.stub.hold(true)
    let calls = (0..<10).map { _ in world.call(Self.echo) }
    #expect(world.stub.asked == ["good"])
    world.stub.answerAll()
    world.loop.run()
    #expect(
      calls.allSatisfy { $0.1.code == .ok }, "those beyond wait at the client or are told to come again")
  }

  @Test func nobodyAnswers() throws {
    let world = try World()
    world.stub.hold(true)
    let (_, recorder) = world.call(Self.echo)
    world.pass(1_999)
    #expect(recorder.code == nil)
    world.pass(2)
    #expect(recorder.code == .unavailable)
    // Too late, and twice.
    world.stub.answerAll()
    world.stub.hold(false)
    world.stub.down(true)
    #expect(world.call(Self.echo).1.code == .unavailable)
    world.stub.down(false)
    #expect(world.call(Self.echo).1.code == .ok)
    #expect(world.log.receivedBytes == 3)
  }

  @Test func aStrangerIsSentAway() throws {
    let world = try World()
    world.pass(10_001)
    #expect(!world.client.isUsable)
    #expect(world.events.all.map(\.kind) == [.authenticationRefused])
    try world.connect()
    for _ in 0..<25 { _ = world.call("/t.T/Echo", "guess", Self.echo) }
    #expect(!world.client.isUsable)
    #expect(world.events.all.last?.kind == .abuse)
  }

  @Test func aRevokedTokenCutsItsStreamAndNoOther() throws {
    let ann = CallIdentity(tenant: "default", principal: "ann")
    let bob = CallIdentity(tenant: "default", principal: "bob")
    let world = try World(StubAuthenticator(["good": ann, "newer": ann, "his": bob]))
    let streams = ["good", "newer", "his"].map { token in
      world.call("/t.T/Echo", token) { $0.send(OutboundMessage(head: [1])) }
    }
    #expect(streams.allSatisfy { $0.1.messages.count == 1 })
    world.stub.set("good", nil)
    world.server.credentialsChanged { $0 == ann }
    world.loop.run()
    #expect(streams.map { $0.1.code } == [.unauthenticated, nil, nil])
    #expect(world.stub.asked.sorted() == ["good", "good", "his", "newer", "newer"], "\(world.stub.asked)")
    streams[1].0.send(OutboundMessage(head: [2]))
    world.loop.run()
    #expect(streams[1].1.messages.count == 2)
    #expect(world.call("/t.T/Echo", "good", Self.echo).1.code == .unauthenticated)
    // With the last token goes the connection.
    world.stub.set("newer", nil)
    world.stub.set("his", nil)
    world.server.credentialsChanged { _ in true }
    world.pass(1)
    #expect(streams.map { $0.1.code } == [.unauthenticated, .unauthenticated, .unauthenticated])
    #expect(!world.client.isUsable)
  }

  /// What nobody can judge anew ends within seconds (fail closed), but not at the first hiccup.
  @Test func judgedAnewWhileTheAuthenticatorIsDown() throws {
    let world = try World()
    let (_, first) = world.call { $0.send(OutboundMessage(head: [1])) }
    world.stub.down(true)
    world.server.credentialsChanged { _ in true }
    world.pass(1_000)
    #expect(first.code == nil)
    world.stub.down(false)
    world.pass(1_000)
    #expect(first.code == nil)
    world.stub.down(true)
    world.server.credentialsChanged { _ in true }
    for _ in 0..<20 { world.pass(250) }
    #expect(first.code == .unavailable)
  }

  /// An answer that was on its way while the tokens changed is not believed.
  @Test func aStaleAnswer() throws {
    let world = try World()
    world.stub.hold(true)
    let (_, recorder) = world.call(Self.echo)
    world.stub.set("good", nil)
    world.server.credentialsChanged { _ in true }
    world.stub.answerAll { _ in .success(CallIdentity(tenant: "default", principal: "ann")) }
    world.loop.run()
    #expect(recorder.code == nil && world.stub.waiting == 1, "it is asked again")
    world.stub.answerAll()
    world.loop.run()
    #expect(recorder.code == .unauthenticated && world.log.receivedBytes == 0)
  }

  @Test func expiryEndsStreams() throws {
    let ann = CallIdentity(tenant: "default", principal: "ann", expiresMilliseconds: 1_000_000 + 60_000)
    let world = try World(StubAuthenticator(["good": ann]))
    let (_, deaf) = world.call("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    let (_, polite) = world.call("/t.T/Polite") { $0.send(OutboundMessage(head: [1])) }
    world.pass(49_000)
    #expect(world.log.asked == 0 && polite.code == nil)
    world.pass(1_500)
    #expect(world.log.asked == 1 && polite.code == .ok && deaf.code == nil)
    // Opened again with the same token: not asked at once, but cut with it.
    let (_, late) = world.call("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    world.pass(9_000)
    #expect(world.log.asked == 1 && deaf.code == nil && late.code == nil)
    world.pass(1_000)
    #expect(deaf.code == .unauthenticated && late.code == .unauthenticated)
    #expect(!world.client.isUsable, "with the last token goes the connection")
    try world.connect()
    #expect(world.call(Self.echo).1.code == .unauthenticated, "also when the authenticator still says yes")
  }

  /// Two live tokens: the newer one takes over without an error.
  @Test func rotation() throws {
    let old = CallIdentity(tenant: "default", principal: "ann", expiresMilliseconds: 1_000_000 + 30_000)
    let new = CallIdentity(tenant: "default", principal: "ann", expiresMilliseconds: 1_000_000 + 90_000)
    let world = try World(StubAuthenticator(["old": old, "new": new]))
    #expect(world.call("/t.T/Echo", "old", Self.echo).1.code == .ok)
    let (_, stream) = world.call("/t.T/Echo", "new") { $0.send(OutboundMessage(head: [1])) }
    world.pass(31_000)
    #expect(stream.code == nil && world.client.isUsable)
    #expect(world.call("/t.T/Echo", "old", Self.echo).1.code == .unauthenticated)
    #expect(world.call("/t.T/Echo", "new", Self.echo).1.code == .ok)
  }

  @Test func tokensOfAConnectionAreBounded() throws {
    let stub = StubAuthenticator()
    for index in 0..<40 {
      stub.set("t\(index)", CallIdentity(tenant: "default", principal: "p\(index)"))
    }
    let world = try World(stub)
    for index in 0..<40 { #expect(world.call("/t.T/Echo", "t\(index)", Self.echo).1.code == .ok) }
    let streams = (0..<17).map { index in
      world.call("/t.T/Hold", "t\(index)") { $0.send(OutboundMessage(head: [1])) }.1
    }
    #expect(streams.map(\.code) == Array(repeating: nil, count: 16) + [.resourceExhausted])
  }

  @Test func aTokenPrintsAsNothing() throws {
    let credential = try #require(CallCredential(authorization: [Array("Bearer canary-5f1d".utf8)]))
    var dumped = ""
    dump(credential, to: &dumped)
    for text in [
      "\(credential)", String(reflecting: credential), dumped, String(describing: Optional(credential)),
    ] {
      #expect(!text.contains("canary") && !text.contains("99"), "\(text)")
    }
  }

  // MARK: Over TLS

  private static func listener(_ stub: StubAuthenticator) async throws -> TestServer {
    var tls = TestCertificates.shared.server()
    tls.requiresClientCertificate = false
    return try await TestServer.start(tls: tls) {
      $0.authentication = ServerAuthentication(authenticator: stub)
      $0.http = StubDoor(timeout: nil, opened: CallLog())
    }
  }

  @Test func withoutACertificate() async throws {
    let stub = StubAuthenticator()
    let server = try await Self.listener(stub)
    let client = try await server.connect(tls: TestCertificates.shared.client(nil))
    let metadata: Metadata = ["authorization": "Bearer good"]
    let answer = try await client.unary(
      path: "/t.T/Echo", message: OutboundMessage(head: [9]), metadata: metadata)
    #expect(answer.array == [9])
    let evidence = try #require(stub.evidence)
    #expect(evidence.certificates.isEmpty && evidence.tlsExporter.count == 32)
    #expect(evidence.serverName == "localhost" && evidence.address.hasPrefix("127.0.0.1:"))
    await client.close()
    // A certificate is verified and counts as evidence, not instead of a token.
    let shown = try await server.connect()
    await #expect(throws: RPCFailure.self) {
      try await shown.unary(path: "/t.T/Echo", message: OutboundMessage(head: [9]))
    }
    _ = try await shown.unary(path: "/t.T/Echo", message: OutboundMessage(head: [9]), metadata: metadata)
    // Its own, and the authority, which the client sends along.
    #expect(stub.evidence?.certificates.count == 2)
    #expect(stub.evidence?.tlsExporter != evidence.tlsExporter, "another connection, other bytes")
    await shown.close()
    for name in ["stranger", "expired"] {
      await #expect(throws: (any Error).self, "\(name)") {
        try await server.connect(tls: TestCertificates.shared.client(name)).unary(
          path: "/t.T/Echo", message: OutboundMessage(head: [9]), metadata: metadata)
      }
    }
    await server.server.close()
  }

  @Test func throughTheDoor() async throws {
    let stub = StubAuthenticator()
    let server = try await Self.listener(stub)
    let start = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Frames.frame(4, 0, 0, [])
    for (token, code) in [("good", "OK"), ("bad", "UNAUTHENTICATED"), (nil, "UNAUTHENTICATED")] {
      let peer = try await RawTLSPeer.connect(server.port)
      let head =
        Frames.request("/v1/Echo", contentType: "application/json")
        + (token.map { Frames.literal("authorization", "Bearer \($0)") } ?? [])
      peer.send(start + Frames.frame(1, 4, 1, head) + Frames.frame(0, 1, 1, Array("hi".utf8)))
      let text = await peer.response(with: "x-code")
      #expect(text.contains("x-code=\(code)"), "\(text)")
      peer.close()
    }
    #expect(server.calls.receivedBytes == 2)
    await server.server.close()
  }

  @Test func aListenerThatAsksNobodyDoesNotStart() {
    var tls = TestCertificates.shared.server()
    tls.requiresClientCertificate = false
    let configuration = ServerConfiguration(tls: tls)
    #expect(throws: TLSConfigurationError.self) {
      try GRPCServer(configuration: configuration, group: TestServer.group) { _ in nil }
    }
  }
}
