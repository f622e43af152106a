import Glibc
import NIOCore
import SkeinCore
import Synchronization
import Testing

@testable import Transport

/// Calls that go well, and those that end with a status.
@Suite struct CallTests {
  /// Runs `body` with a server and a client, and closes both.
  private func with(
    limits: TransportLimits = TransportLimits(), clientLimits: TransportLimits = TransportLimits(),
    budget: MemoryBudget? = nil, _ body: (TestServer, GRPCConnection) async throws -> Void
  ) async throws {
    let server = try await TestServer.start(limits: limits, budget: budget)
    let client = try await server.connect(limits: clientLimits)
    try await body(server, client)
    await client.close()
    await server.server.close()
    #expect(server.server.connectionCount == 0)
  }

  @Test func unaryOfEverySize() async throws {
    try await with { _, client in
      for size in [0, 1, 1000, 16_379, 16_384, 65_536, 1 << 20, 5 << 20, 16 << 20] {
        var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: size), count: size)
        if size > 0 { bytes[size / 2] ^= 0xff }
        let payload = SharedBytes(bytes)
        let answer = try await client.unary(
          path: "/t.T/Echo", message: OutboundMessage(payload), deadline: .now() + .seconds(20))
        #expect(answer.count == size)
        let same = answer.withUnsafeBytes { a in
          payload.withUnsafeBytes { size == 0 || memcmp(a.baseAddress!, $0.baseAddress!, size) == 0 }
        }
        #expect(same)
      }
    }
  }

  @Test func fourShapes() async throws {
    try await with { _, client in
      // Client stream.
      let (_, count) = client.record("/t.T/Count") { call in
        for index in 0..<100 { call.send(OutboundMessage(head: [UInt8](repeating: 1, count: index))) }
        call.sendEnd()
      }
      #expect(await count.finished().code == .ok)
      #expect(count.messages.map(\.array) == [Array("100 4950".utf8)])
      // Server stream.
      let (_, flood) = client.record("/t.T/Flood", keeps: false) { call in
        call.send(OutboundMessage(head: Array("500 10000".utf8)))
        call.sendEnd()
      }
      let flooded = await flood.finished()
      #expect(flooded.code == .ok, "\(flooded)")
      #expect(flood.bytes == 5_000_000)
      // Both ways, with the answers awaited in between.
      let (call, echo) = client.record("/t.T/Echo") { $0.send(OutboundMessage(head: [0])) }
      for index in 1..<20 {
        await echo.wait { $0.messages.count == index }
        call.eventLoop.execute { call.send(OutboundMessage(head: [UInt8(index)])) }
      }
      await echo.wait { $0.messages.count == 20 }
      call.eventLoop.execute { call.sendEnd() }
      #expect(await echo.finished().code == .ok)
      #expect(echo.messages.map(\.array) == (0..<20).map { [UInt8($0)] })
      #expect(echo.closedCount == 1)
    }
  }

  @Test func statusDetailsAndMessageSurvive() async throws {
    try await with { _, client in
      do {
        _ = try await client.unary(path: "/t.T/Fail", message: OutboundMessage(head: []))
        Issue.record("the call must fail")
      } catch let failure as RPCFailure {
        #expect(failure.status.code == .failedPrecondition)
        #expect(failure.status.message == "100% wr\u{f6}ng\n")
        #expect(failure.details == [8, 9, 0, 255])
        #expect(failure.trailers.text("x-why") == "test")
      }
      do {
        _ = try await client.unary(path: "/t.T/Nothing", message: OutboundMessage(head: []))
        Issue.record("the call must fail")
      } catch let failure as RPCFailure {
        #expect(failure.status.code == .unimplemented)
        #expect(failure.status.message.contains("/t.T/Nothing"))
      }
    }
  }

  @Test func metadataBothWays() async throws {
    try await with { _, client in
      var metadata: Metadata = ["x-text": "some text", "x-two": "1"]
      metadata.append("x-two", "2")
      metadata.append("x-raw-bin", (0...255).map { UInt8($0) })
      metadata.append("grpc-forbidden", "never")
      let sent = metadata
      let (_, recorder) = client.record("/t.T/Meta", metadata: sent) { call in
        call.send(OutboundMessage(head: [1]))
        call.sendEnd()
      }
      #expect(await recorder.finished().code == .ok)
      for got in [recorder.headers, recorder.trailers] {
        #expect(got?.text("x-text") == "some text")
        #expect(got?["x-raw-bin"] == (0...255).map { UInt8($0) })
        #expect(
          got?.entries.filter { $0.name == "x-two" }.map(\.value) == [Array("1".utf8), Array("2".utf8)])
        #expect(got?["grpc-forbidden"] == nil)
      }
    }
  }

  @Test func messageOverTheLimitIsRefusedOnItsPrefixAndTheConnectionLives() async throws {
    var limits = TransportLimits()
    limits.maxMessageBytes = 1000
    try await with(limits: limits) { server, client in
      do {
        _ = try await client.unary(
          path: "/t.T/Echo", message: OutboundMessage(head: [UInt8](repeating: 0, count: 3 << 20)))
        Issue.record("the call must fail")
      } catch let failure as RPCFailure {
        #expect(failure.status.code == .resourceExhausted)
        #expect(failure.status.message.contains("1000"))
      }
      #expect(server.calls.receivedBytes == 0)
      #expect(server.calls.ends.map(\.status.code) == [.resourceExhausted])
      let answer = try await client.unary(
        path: "/t.T/Echo", message: OutboundMessage(head: [UInt8](repeating: 0, count: 1000)))
      #expect(answer.count == 1000)
    }
  }

  @Test func answerOverTheClientsLimit() async throws {
    var limits = TransportLimits()
    limits.maxMessageBytes = 1000
    try await with(clientLimits: limits) { _, client in
      let (_, recorder) = client.record("/t.T/Flood") { $0.send(OutboundMessage(head: Array("3 2000".utf8))) }
      #expect(await recorder.finished().code == .resourceExhausted)
      let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
      #expect(answer.count == 1)
    }
  }

  @Test func deadlineAtTheServer() async throws {
    try await with { server, client in
      // The client's own clock is kept out of it: the header is what the server enforces.
      let (_, recorder) = client.record("/t.T/Hold", deadline: .now() + .milliseconds(600)) { call in
        call.send(OutboundMessage(head: [1]))
      }
      #expect(await recorder.finished().code == .deadlineExceeded)
      try #require(await eventually("the handler hears of it") { server.calls.ends.count == 1 })
      // Whichever clock was first: the server's own, or the client's reset.
      #expect([.deadlineExceeded, .cancelled].contains(server.calls.ends[0].status.code))
    }
  }

  @Test func deadlineInThePastSendsNothing() async throws {
    try await with { server, client in
      let (_, recorder) = client.record("/t.T/Hold", deadline: .now() - .seconds(1)) { _ in }
      let status = await recorder.finished()
      #expect(status.code == .deadlineExceeded && status.isDefinitelyUnprocessed)
      #expect(server.calls.ends.isEmpty)
    }
  }

  @Test func clientCancels() async throws {
    try await with { server, client in
      let (call, recorder) = client.record("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
      #expect(await eventually("the message arrives") { server.calls.receivedBytes == 1 })
      call.eventLoop.execute { call.cancel() }
      #expect(await recorder.finished().code == .cancelled)
      #expect(
        await eventually("the handler hears of it") { server.calls.ends.map(\.status.code) == [.cancelled] })
      #expect(recorder.closedCount == 1)
    }
  }

  /// nghttp2 must not hand out the pointer of a call that has ended, also before the reset is sent.
  @Test func endedCallIsForgottenAtOnce() async throws {
    try await with { _, client in
      let (call, _) = client.record("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
      let isForgotten = try await call.eventLoop.submit {
        let connection = call.connection
        let wasKnown = connection?.session?.call(call.stream) === call
        call.cancel()
        return wasKnown && connection?.session?.call(call.stream) == nil
      }.get()
      #expect(isForgotten)
    }
  }

  @Test func cancelledTaskResetsItsUnaryCall() async throws {
    try await with { server, client in
      let task = Task { try await client.unary(path: "/t.T/Hold", message: OutboundMessage(head: [1])) }
      #expect(await eventually("the message arrives") { server.calls.receivedBytes == 1 })
      task.cancel()
      await #expect(throws: RPCFailure(GRPCStatus(.cancelled, "cancelled by this side"))) {
        try await task.value
      }
      #expect(
        await eventually("the handler hears of it") { server.calls.ends.map(\.status.code) == [.cancelled] })
    }
  }

  @Test func manyCallsAtOnce() async throws {
    try await with { _, client in
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for index in 0..<400 {
          group.addTask {
            let body = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: index * 7)
            return try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: body)).array
              == body
          }
        }
        for try await same in group { #expect(same) }
      }
    }
  }

  /// More calls than the server allows resets: a call that ends well must not cost one.
  @Test func finishedCallsAreNotResets() async throws {
    var limits = TransportLimits()
    limits.resetBurst = 20
    limits.resetsPerSecond = 1
    try await with(limits: limits) { _, client in
      for _ in 0..<60 {
        let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
        #expect(answer.count == 1)
      }
    }
  }

  /// A handler that answers `closed` with the next call must not recurse.
  @Test func retryInsideClosedDoesNotRecurse() async throws {
    try await with { server, client in
      await client.close()
      let left = Mutex(20_000)
      await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
        @Sendable func again() {
          let more = left.withLock { left in
            left -= 1
            return left > 0
          }
          guard more else { return done.resume() }
          client.open(path: "/t.T/Echo") { _ in OnClosed(again) }
        }
        again()
      }
    }
  }

  @Test func identityOfThePeer() async throws {
    let seen = Mutex<PeerIdentity?>(nil)
    let certificates = TestCertificates.shared
    let server = try GRPCServer(
      configuration: ServerConfiguration(tls: certificates.server()), group: TestServer.group
    ) { call in
      seen.withLock { $0 = call.peer }
      return nil
    }
    let port = try await server.bind(host: "127.0.0.1", port: 0)
    let client = try await GRPCConnection.connect(
      host: "127.0.0.1", port: port, tls: certificates.client(), group: TestServer.group)
    _ = try? await client.unary(path: "/x/y", message: OutboundMessage(head: []))
    let identity = try #require(seen.withLock { $0 })
    #expect(identity.subjectAlternativeURIs == ["skein:default/admin", "urn:second"])
    #expect(identity.commonName == "client")
    #expect(identity.remoteAddress.hasPrefix("127.0.0.1:"))
    let day: Int64 = 86_400
    let notAfter = try #require(identity.certificateNotAfter)
    let left = notAfter - Int64(NIODeadline.wallSeconds)
    #expect((day...(3 * day)).contains(left))
    #expect(client.peer.commonName == "server")
    await client.close()
    await server.close()
  }
}

private final class OnClosed: CallHandler {
  let then: @Sendable () -> Void
  init(_ then: @escaping @Sendable () -> Void) { self.then = then }
  func received(_ message: SharedBytes) {}
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { then() }
}
