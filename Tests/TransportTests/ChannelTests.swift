import CNGHTTP2
import NIOCore
import NIOPosix
import SkeinCore
import Synchronization
import Testing

@testable import Transport

/// A channel against real servers that come, go and refuse.
@Suite struct ChannelTests {
  private struct Seeded: RandomSource {
    func next() -> UInt64 { 4 }
  }

  private func channel(
    _ ports: [Int], _ change: (inout ChannelConfiguration) -> Void = { _ in }
  ) -> GRPCChannel {
    var configuration = ChannelConfiguration(
      endpoints: ports.map { .init(host: "localhost", port: $0) }, tls: TestCertificates.shared.client())
    configuration.backoff.first = .milliseconds(20)
    configuration.stableAfter = .milliseconds(1)
    change(&configuration)
    return GRPCChannel(configuration, group: TestServer.group, random: Seeded())
  }

  private func echo(_ channel: GRPCChannel, waitsForReady: Bool = false) async throws -> [UInt8] {
    try await channel.unary(
      path: "/t.T/Echo", message: OutboundMessage(head: [1, 2]), deadline: .now() + .seconds(40),
      waitsForReady: waitsForReady
    ).array
  }

  @Test func callsShareConnectionsEvenly() async throws {
    let server = try await TestServer.start()
    let channel = channel([server.port]) {
      $0.callsPerConnection = 5
      $0.maxConnections = 3
    }
    #expect(try await echo(channel) == [1, 2])
    #expect(server.server.connectionCount == 1, "opened on demand, not before")
    var held: [Recorder] = []
    for _ in 0..<60 {
      let box = Mutex<Recorder?>(nil)
      channel.open(path: "/t.T/Hold") { call in
        let recorder = Recorder(call)
        box.withLock { $0 = recorder }
        call.send(OutboundMessage(head: [1]))
        return recorder
      }
      #expect(await eventually("the handler is made") { box.withLock { $0 != nil } })
      held.append(box.withLock { $0! })
      if held.count % 10 == 0 {
        let count = held.count
        #expect(await eventually("they run") { server.calls.receivedBytes >= count })
        let expected = min(3, count / 10 + 1)
        #expect(
          await eventually("one more is open") {
            if case .ready(expected) = channel.currentState { true } else { false }
          }, "\(channel.currentState) for \(count) calls")
      }
    }
    #expect(server.server.connectionCount == 3)
    var loads: Set<Int> = []
    for _ in 0..<9 { loads.insert(try await channel.connection().gauge.calls) }
    #expect(loads.min() ?? 0 >= 15, "60 calls on 3 connections: \(loads)")
    await channel.close()
    for recorder in held { #expect(await recorder.finished().code == .unavailable) }
    await #expect(throws: ChannelFailure.self) { try await echo(channel) }
    await server.server.close()
  }

  @Test func comesBackAfterTheServerDid() async throws {
    let first = try await TestServer.start()
    let channel = channel([first.port])
    #expect(try await echo(channel) == [1, 2])
    await first.server.close()
    // Fail fast without readiness, with the reason.
    do {
      while true { _ = try await echo(channel) }
    } catch let failure as ConnectFailure {
      #expect(failure.kind == .refused, "\(failure)")
    }
    async let waited = echo(channel, waitsForReady: true)
    let second = try await TestServer.start(port: first.port)
    #expect(try await waited == [1, 2])
    if case .ready(1) = channel.currentState {} else { Issue.record("\(channel.currentState)") }
    await channel.close()
    await second.server.close()
  }

  /// A call that does not wait for readiness still has every endpoint tried for it.
  @Test func everyEndpointIsTried() async throws {
    let gone = try await TestServer.start()
    await gone.server.close()
    let untrusted = try await TestServer.start(tls: TestCertificates.shared.server("elsewhere"))
    let server = try await TestServer.start()
    for ports in [
      [gone.port, server.port], [server.port, gone.port], [gone.port, untrusted.port, server.port],
    ] {
      let channel = channel(ports)
      #expect(try await echo(channel) == [1, 2])
      await channel.close()
    }
    // If none will do, what must be cured is said first, and all of it.
    for ports in [[gone.port, untrusted.port], [untrusted.port, gone.port]] {
      let channel = channel(ports)
      do {
        _ = try await echo(channel)
        Issue.record("none is of use")
      } catch let failure as ConnectFailure {
        #expect(failure.kind == .hostnameMismatch)
        #expect(failure.message.contains("refused") && failure.message.contains("another host"), "\(failure)")
      }
      await channel.close()
    }
    await untrusted.server.close()
    await server.server.close()
  }

  @Test func waitingEndsWithDeadlineOrCancellation() async throws {
    let gone = try await TestServer.start()
    await gone.server.close()
    let channel = channel([gone.port])
    await #expect(throws: ConnectFailure.self) { try await echo(channel) }
    do {
      _ = try await channel.connection(waitsForReady: true, deadline: .now() + .milliseconds(100))
      Issue.record("there is nobody")
    } catch let failure as ChannelFailure {
      #expect("\(failure)".contains("before the deadline") && "\(failure)".contains("refused"), "\(failure)")
    }
    let task = Task { try await channel.connection(waitsForReady: true) }
    task.cancel()
    await #expect(throws: CancellationError.self) { _ = try await task.value }
    // A call says the same through its handler.
    let box = Mutex<Recorder?>(nil)
    channel.open(path: "/t.T/Echo", deadline: .now() + .milliseconds(50), waitsForReady: true) { call in
      let recorder = Recorder(call)
      box.withLock { $0 = recorder }
      return recorder
    }
    #expect(await eventually("it is closed") { box.withLock { $0?.closedCount == 1 } })
    let status = try #require(await box.withLock { $0 }?.finished())
    #expect(status.code == .deadlineExceeded && status.isDefinitelyUnprocessed)
    await channel.close()
  }

  /// An untrusted server is an error at once, with its kind, not a wait.
  @Test func trustIsNotANetworkProblem() async throws {
    let server = try await TestServer.start(tls: TestCertificates.shared.server("elsewhere"))
    let channel = channel([server.port])
    do {
      _ = try await echo(channel)
      Issue.record("it must not connect")
    } catch let failure as ConnectFailure {
      #expect(failure.kind == .hostnameMismatch)
    }
    let broken = GRPCChannel(
      ChannelConfiguration(
        endpoints: [.init(host: "localhost", port: server.port)],
        tls: ClientTLS(trustRoots: .file("/nonexistent/ca.pem"))), group: TestServer.group, random: Seeded())
    await #expect(throws: TLSConfigurationError.self) { try await broken.connection() }
    await #expect(throws: ChannelFailure.self) {
      try await GRPCChannel(
        ChannelConfiguration(endpoints: [], tls: TestCertificates.shared.client()), group: TestServer.group,
        random: Seeded()
      ).connection()
    }
    await channel.close()
    await broken.close()
    await server.server.close()
  }

  /// Refused before processing is tried again; anything else, also UNAVAILABLE, is not.
  @Test func retriesOnlyWhatIsDefinite() async throws {
    let tries = Mutex<[String: Int]>([:])
    let server = try GRPCServer(
      configuration: ServerConfiguration(tls: TestCertificates.shared.server()), group: TestServer.group
    ) { call in
      let count = tries.withLock { tries in
        tries[call.path, default: 0] += 1
        return tries[call.path]!
      }
      switch call.path {
      case "/r/Refused" where count < 3: return RefuseHandler(call, .refusedStream)
      case "/r/Always": return RefuseHandler(call, .refusedStream)
      case "/r/Unavailable": return RefuseHandler(call, .status(GRPCStatus(.unavailable, "maybe done")))
      case "/r/Marked" where count < 3:
        return RefuseHandler(call, .status(GRPCStatus(.unavailable, "definite", details: [1])))
      default: return EchoHandler(call, CallLog())
      }
    }
    let port = try await server.bind(host: "127.0.0.1", port: 0)
    let channel = channel([port]) {
      $0.maxAttempts = 4
      $0.backoff.first = .milliseconds(2)
      $0.retryBudget = 8
      $0.isDefinite = { $0.details == [1] }
    }
    func call(_ path: String) async -> StatusCode {
      do {
        _ = try await channel.unary(
          path: path, message: OutboundMessage(head: [1]), deadline: .now() + .seconds(40))
        return .ok
      } catch { return (error as? RPCFailure)?.status.code ?? .unknown }
    }
    #expect(await call("/r/Refused") == .ok)
    #expect(await call("/r/Marked") == .ok)
    #expect(await call("/r/Unavailable") == .unavailable)
    #expect(await call("/r/Always") == .unavailable)
    #expect(await call("/r/Always") == .unavailable)
    let seen = tries.withLock { $0 }
    #expect(seen["/r/Refused"] == 3 && seen["/r/Marked"] == 3 && seen["/r/Unavailable"] == 1)
    // 8 in the budget: 2 and 2 are spent, 3 more, and the last one of the second call.
    #expect(seen["/r/Always"] == 4 + 2)
    await channel.close()
    await server.close()
  }

  @Test func anotherIdentityWithoutLosingCalls() async throws {
    let seen = Mutex<[String]>([])
    let server = try GRPCServer(
      configuration: ServerConfiguration(tls: TestCertificates.shared.server()), group: TestServer.group
    ) { call in
      seen.withLock { $0.append(call.peer.commonName ?? "") }
      return EchoHandler(call, CallLog())
    }
    let port = try await server.bind(host: "127.0.0.1", port: 0)
    let channel = channel([port])
    let old = try await channel.connection()
    let (running, recorder) = old.record("/t.T/Echo") { $0.send(OutboundMessage(head: [1])) }
    await recorder.wait { $0.messages.count == 1 }
    channel.replace(tls: TestCertificates.shared.client("second"))
    #expect(try await echo(channel) == [1, 2])
    #expect(!old.isUsable)
    running.eventLoop.execute {
      running.send(OutboundMessage(head: [2]))
      running.sendEnd()
    }
    #expect(await recorder.finished().code == .ok)
    #expect(recorder.messages.map(\.array) == [[1], [2]])
    #expect(seen.withLock { $0 } == ["client", "second"])
    #expect(await eventually("the old one closes by itself") { server.connectionCount == 1 })
    await channel.close()
    await server.close()
  }
}

/// Ends its call at once in one way or the other.
private final class RefuseHandler: CallHandler {
  enum Way {
    case refusedStream
    case status(GRPCStatus)
  }
  init(_ call: Call, _ way: Way) {
    switch way {
    case .refusedStream: call.refuse()
    case .status(let status): call.finish(status)
    }
  }
  func received(_ message: SharedBytes) {}
  func closed(_ status: GRPCStatus, _ trailers: Metadata) {}
}

extension Call {
  /// As a server that has no place for the stream.
  fileprivate func refuse() {
    connection?.session?.reset(stream, NGHTTP2_REFUSED_STREAM)
    close(GRPCStatus(.unavailable), Metadata())
  }
}
