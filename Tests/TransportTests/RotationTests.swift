import COpenSSL
import COpenSSLShims
import Certificates
import NIOCore
import SkeinCore
import Synchronization
import Testing

@testable import Transport

/// Certificates that change while the server runs: reload, several by SNI, revocation, expiry.
@Suite struct RotationTests {
  private struct Authority {
    let issuer: CertificateIssuer
    init(_ name: String) throws { issuer = try CertificateIssuer(commonName: name) }

    func server(_ name: String, _ names: [String] = ["DNS:localhost", "IP:127.0.0.1"]) throws
      -> ServerTLS.Identity
    {
      let made = try issuer.issue(commonName: name, names: names, usage: .server)
      return .init(certificateChain: .bytes(made.certificate), privateKey: .bytes(made.key))
    }
    func client(_ name: String) throws -> CertificateIssuer.Identity {
      try issuer.issue(commonName: name, names: ["URI:skein:default/\(name)"], usage: .client)
    }
    var roots: PEMSource { get throws { .bytes(try issuer.identity.certificate) } }
  }

  private static func tls(
    _ identity: ServerTLS.Identity, clients: PEMSource
  ) -> ServerTLS {
    ServerTLS(
      certificateChain: identity.certificateChain, privateKey: identity.privateKey, clientAuthorities: clients
    )
  }

  private static func client(
    _ identity: CertificateIssuer.Identity, trusting roots: PEMSource, serverName: String? = nil
  ) -> ClientTLS {
    ClientTLS(
      trustRoots: roots, certificateChain: .bytes(identity.certificate), privateKey: .bytes(identity.key),
      serverName: serverName)
  }

  @Test func reloadServesTheNewCertificateAndDropsNobody() async throws {
    let (old, new) = (try Authority("old"), try Authority("new"))
    let server = try await TestServer.start(tls: Self.tls(try old.server("first"), clients: try old.roots))
    let before = try await server.connect(tls: Self.client(try old.client("a"), trusting: try old.roots))
    #expect(before.peer.commonName == "first")
    let (call, recorder) = before.record("/t.T/Echo") { $0.send(OutboundMessage(head: [1])) }
    await recorder.wait { $0.messages.count == 1 }

    // Bad in each of its parts: refused by name, and nothing changes.
    var broken = Self.tls(try new.server("second"), clients: try new.roots)
    broken.privateKey = try new.server("other").privateKey
    #expect(throws: TLSConfigurationError.self) { try server.server.reload(broken) }
    broken = Self.tls(try new.server("second"), clients: .bytes(Array("rubbish".utf8)))
    #expect(throws: TLSConfigurationError.self) { try server.server.reload(broken) }
    guard case .bytes(let pem) = try new.roots else { return }
    broken.clientAuthorities = .bytes(pem + Array(pem.dropLast(60)))
    #expect(throws: TLSConfigurationError.self, "half a certificate at the end") {
      try server.server.reload(broken)
    }
    // What clients would refuse: a client's certificate, alone or beside a good one.
    let client = try new.client("x")
    let wrong = ServerTLS.Identity(
      certificateChain: .bytes(client.certificate), privateKey: .bytes(client.key))
    broken = Self.tls(try new.server("second"), clients: try new.roots)
    broken.additional = [wrong]
    for broken in [Self.tls(wrong, clients: try new.roots), broken] {
      let error = #expect(throws: TLSConfigurationError.self) { try server.server.reload(broken) }
      #expect(error?.description.contains("is not for servers") == true)
    }
    let still = try await server.connect(tls: Self.client(try old.client("b"), trusting: try old.roots))
    #expect(still.peer.commonName == "first")

    try server.server.reload(Self.tls(try new.server("second"), clients: try new.roots))
    let after = try await server.connect(tls: Self.client(try new.client("c"), trusting: try new.roots))
    #expect(after.peer.commonName == "second")
    await #expect(throws: ConnectFailure.self, "the old authority is gone") {
      try await server.connect(tls: Self.client(try old.client("d"), trusting: try new.roots))
    }
    // Who was there stays.
    call.eventLoop.execute {
      call.send(OutboundMessage(head: [2]))
      call.sendEnd()
    }
    #expect(await recorder.finished().code == .ok)
    #expect(recorder.messages.count == 2 && before.isUsable && still.isUsable)
    for client in [before, still, after] { await client.close() }
    await server.server.close()
  }

  @Test func theNameChoosesTheCertificate() async throws {
    let authority = try Authority("ca")
    var tls = Self.tls(try authority.server("default"), clients: try authority.roots)
    tls.additional = [
      try authority.server("one", ["DNS:one.example"]), try authority.server("wild", ["DNS:*.wild.example"]),
    ]
    let server = try await TestServer.start(tls: tls)
    let identity = try authority.client("a")
    for (name, expected) in [
      (nil, "default"), ("one.example", "one"), ("ONE.example", "one"), ("x.wild.example", "wild"),
    ] {
      let client = try await server.connect(
        tls: Self.client(identity, trusting: try authority.roots, serverName: name))
      #expect(client.peer.commonName == expected, "\(name ?? "none")")
      let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
      #expect(answer.count == 1)
      await client.close()
    }
    for name in ["two.example", "a.b.wild.example", "one.example.org"] {
      do {
        let client = try await server.connect(
          tls: Self.client(identity, trusting: try authority.roots, serverName: name))
        await client.close()
        Issue.record("\(name) must get the first certificate, which is not for it")
      } catch let failure as ConnectFailure {
        #expect(failure.kind == .hostnameMismatch)
      }
    }
    tls.additional.append(
      .init(certificateChain: tls.certificateChain, privateKey: tls.additional[0].privateKey))
    #expect(throws: TLSConfigurationError.self) { try server.server.reload(tls) }
    await server.server.close()
  }

  @Test func revokedClientsAreRefusedAndCut() async throws {
    var limits = TransportLimits()
    limits.goAwayGrace = .milliseconds(100)
    let authority = try Authority("ca")
    let (good, bad) = (try authority.client("good"), try authority.client("bad"))
    var tls = Self.tls(try authority.server("s"), clients: try authority.roots)
    tls.revocations = .bytes(try authority.issuer.revocationList(revoking: []))
    let server = try await TestServer.start(tls: tls, limits: limits)
    let roots = try authority.roots
    let first = try await server.connect(tls: Self.client(good, trusting: roots))
    let second = try await server.connect(tls: Self.client(bad, trusting: roots))
    let (_, held) = second.record("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    #expect(await eventually("it runs") { server.calls.receivedBytes == 1 })

    tls.revocations = .bytes(try authority.issuer.revocationList(revoking: [bad.certificate]))
    try server.server.reload(tls)
    // GOAWAY at once, the end by force after the grace.
    #expect(await eventually("GOAWAY comes") { !second.isUsable })
    #expect(await held.finished().code == .unavailable)
    #expect(server.calls.asked == 1, "the handler was asked to end")
    #expect(server.events.all.map(\.kind) == [.certificateEnded])
    #expect(first.isUsable)
    do {
      _ = try await server.connect(tls: Self.client(bad, trusting: roots))
      Issue.record("revoked")
    } catch let failure as ConnectFailure {
      #expect(failure.kind == .clientCertificateRefused)
    }
    #expect(
      await eventually("the log says so") { server.events.all.last?.detail.contains("revoked") == true })

    // No list of the client's authority, or one that is out of date: refused too.
    for list in [
      try Authority("ca2").issuer.revocationList(revoking: []),
      try authority.issuer.revocationList(revoking: [], days: -1),
    ] {
      tls.revocations = .bytes(list)
      try server.server.reload(tls)
      await #expect(throws: ConnectFailure.self) {
        try await server.connect(tls: Self.client(good, trusting: roots))
      }
    }
    #expect(throws: TLSConfigurationError.self) {
      tls.revocations = roots
      try server.server.reload(tls)
    }
    await first.close()
    await server.server.close()
  }

  @Test func aConnectionEndsWithItsCertificate() async throws {
    var limits = TransportLimits()
    limits.goAwayGrace = .milliseconds(100)
    // The server's clock is the test's: at first in time, then past the certificate's end.
    let clock = Mutex<Int64>(0)
    let server = try await TestServer.start(limits: limits) { $0.wallSeconds = { clock.withLock { $0 } } }
    let client = try await server.connect()
    let seen = TLSContextProbe.notAfter(of: TestCertificates.shared.pem("client"))
    let end = try #require(seen)
    clock.withLock { $0 = end }
    let second = try await server.connect()
    let (_, held) = second.record("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    #expect(await eventually("it runs, in the last second") { server.calls.receivedBytes == 1 })
    clock.withLock { $0 = end + 1 }
    #expect(await eventually("GOAWAY comes") { !second.isUsable })
    #expect(await held.finished().code == .unavailable)
    #expect(server.events.all.contains { $0.kind == .certificateEnded && $0.detail.contains("expired") })
    #expect(
      await eventually("the handler hears why") {
        server.calls.ends.last?.status.message.contains("certificate has expired") == true
      })
    #expect(client.isUsable, "its next look is later: the clock was far from the end when it came")
    await client.close()
    await server.server.close()
  }

  @Test func jitterIsATenth() {
    for random: UInt64 in [0, 1, 12_345, .max] {
      let spread = ServerRole.spread(.seconds(100), random).nanoseconds
      #expect((90_000_000_000...110_000_000_000).contains(spread))
    }
    #expect(ServerRole.spread(.seconds(100), 1) != ServerRole.spread(.seconds(100), 3))
  }
}

/// The end of a certificate in a file.
enum TLSContextProbe {
  static func notAfter(of source: PEMSource) -> Int64? {
    guard let certificates = try? PEM.certificates(source, what: "test") else { return nil }
    defer { certificates.forEach { X509_free($0) } }
    return skein_x509_not_after(certificates[0])
  }
}
