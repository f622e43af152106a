import NIOCore
import NIOPosix
import SkeinCore
import Testing

@testable import Transport

/// Handshakes: who gets in, and what is said to those who do not.
@Suite struct ConnectTests {
  private func refused(
    _ server: TestServer, _ tls: ClientTLS, host: String = "localhost"
  ) async -> ConnectFailure? {
    do {
      let client = try await server.connect(tls: tls, host: host)
      await client.close()
      return nil
    } catch {
      return error as? ConnectFailure
    }
  }

  @Test func clientCertificates() async throws {
    let server = try await TestServer.start()
    let certificates = TestCertificates.shared
    let cases: [(String?, String)] = [
      (nil, "gave no certificate"), ("stranger", "not trusted"), ("expired", "has expired"),
      ("server", "not trusted (unsuitable certificate purpose)"),
    ]
    for (index, (name, words)) in cases.enumerated() {
      let failure = await refused(server, certificates.client(name))
      #expect(failure?.kind == .clientCertificateRefused, "\(name ?? "none"): \(String(describing: failure))")
      #expect(await eventually("the server logs it") { server.events.all.count == index + 1 })
      let event = try #require(server.events.all.last)
      #expect(event.kind == .handshakeFailed)
      #expect(event.detail.contains(words), "\(event)")
      #expect(event.remoteAddress.hasPrefix("127.0.0.1:"))
    }
    await server.server.close()
  }

  @Test func serverCertificates() async throws {
    let certificates = TestCertificates.shared
    let server = try await TestServer.start()
    #expect(await refused(server, certificates.client(trusting: "other-ca"))?.kind == .serverUntrusted)
    var wrongName = certificates.client()
    wrongName.serverName = "elsewhere.example"
    #expect(await refused(server, wrongName)?.kind == .hostnameMismatch)
    wrongName.serverName = "127.0.0.2"
    #expect(await refused(server, wrongName)?.kind == .hostnameMismatch)
    #expect(await refused(server, certificates.client(), host: "127.0.0.1") == nil)
    await server.server.close()

    let elsewhere = try await TestServer.start(tls: certificates.server("elsewhere"))
    #expect(await refused(elsewhere, certificates.client())?.kind == .hostnameMismatch)
    await elsewhere.server.close()
    let old = try await TestServer.start(tls: certificates.server("old-server"))
    #expect(await refused(old, certificates.client())?.kind == .serverExpired)
    await old.server.close()
  }

  @Test func nobodyListens() async throws {
    let server = try await TestServer.start()
    await server.server.close()
    #expect(await refused(server, TestCertificates.shared.client(), host: "127.0.0.1")?.kind == .refused)
  }

  @Test func aServerThatSaysNothingTimesOut() async throws {
    let silent = try await ServerBootstrap(group: TestServer.group).bind(host: "127.0.0.1", port: 0).get()
    do {
      _ = try await GRPCConnection.connect(
        host: "127.0.0.1", port: silent.localAddress!.port!, tls: TestCertificates.shared.client(),
        group: TestServer.group, deadline: .now() + .milliseconds(150))
      Issue.record("it must not connect")
    } catch let failure as ConnectFailure {
      #expect(failure.kind == .timedOut)
    }
    try await silent.close().get()
  }

  @Test func badFilesAreNamed() {
    let certificates = TestCertificates.shared
    func problem(_ tls: ServerTLS) -> String {
      do {
        _ = try TLSContext.server(tls)
        return ""
      } catch {
        return error.description
      }
    }
    var tls = certificates.server()
    tls.certificateChain = .file("/nonexistent/cert.pem")
    #expect(problem(tls).contains("/nonexistent/cert.pem"))
    tls = certificates.server()
    tls.privateKey = certificates.key("client")
    #expect(problem(tls).contains("does not belong"))
    tls = certificates.server()
    tls.clientAuthorities = .bytes(Array("nothing".utf8))
    #expect(problem(tls).contains("no certificate"))
    tls.clientAuthorities = certificates.pem("ca")
    #expect(problem(tls).isEmpty)
  }

  @Test func handshakeLimits() async throws {
    var limits = TransportLimits()
    limits.handshakeTimeout = .seconds(3)
    limits.maxHandshakes = 2
    limits.maxConnections = 3
    let server = try await TestServer.start(limits: limits)
    // Two peers that say nothing hold both places...
    let raw = try await (0..<2).asyncMap { _ in try await RawPeer.connect(server.port) }
    #expect(await eventually("both are accepted") { server.server.connectionCount == 2 })
    let third = try await RawPeer.connect(server.port)
    await third.closed()
    #expect(
      server.events.all.contains { $0.kind == .connectionRefused && $0.detail.contains("2 handshakes") })
    // ...until their time is over.
    for peer in raw { await peer.closed() }
    #expect(server.events.all.filter { $0.detail.contains("took too long") }.count == 2)
    let client = try await server.connect()
    let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
    #expect(answer.count == 1)
    await client.close()
    await server.server.close()
  }
}

extension Range where Bound == Int {
  func asyncMap<T>(_ body: (Int) async throws -> T) async rethrows -> [T] {
    var result: [T] = []
    for index in self { result.append(try await body(index)) }
    return result
  }
}
