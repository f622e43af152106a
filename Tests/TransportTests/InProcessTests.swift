import NIOCore
import NIOEmbedded
import NIOPosix
import SkeinCore
import Synchronization
import Testing

@testable import Transport

/// The twin in memory: handlers without ports, on a clock that stands still.
@Suite struct InProcessTests {
  /// A server and a client on a loop that moves only when it is told to.
  private final class World {
    let loop = EmbeddedEventLoop()
    let log = CallLog()
    let events = EventLog()
    let server: InProcessServer
    let client: GRPCConnection

    init(
      limits: TransportLimits = TransportLimits(), clientLimits: TransportLimits = TransportLimits(),
      budget: MemoryBudget? = nil, identity: PeerIdentity = PeerIdentity(),
      wallSeconds: (@Sendable () -> Int64)? = nil
    ) throws {
      let (log, events) = (log, events)
      server = InProcessServer(
        on: loop, limits: limits, budget: budget, log: { events.add($0) }, wallSeconds: wallSeconds
      ) { call in TestServer.route(call, log) }
      let connecting = server.connect(as: identity, limits: clientLimits)
      loop.run()
      client = try connecting.wait()
    }

    func call(
      _ path: String, deadline: NIODeadline? = nil, releases: Bool = true,
      _ body: @escaping @Sendable (Call) -> Void
    ) -> (Call, Recorder) {
      let box = Mutex<Recorder?>(nil)
      let call = client.open(path: path, deadline: deadline) { call in
        let recorder = Recorder(call, releases: releases)
        box.withLock { $0 = recorder }
        body(call)
        return recorder
      }
      loop.run()
      return (call, box.withLock { $0! })
    }

    func pass(_ amount: TimeAmount) {
      loop.advanceTime(by: amount)
      loop.run()
    }

    func close() {
      let done = server.drain(deadline: loop.now)
      pass(.seconds(10))
      #expect(throws: Never.self) { try done.wait() }
      #expect(server.connectionCount == 0)
    }
  }

  @Test func fourShapesWithoutAPort() throws {
    let world = try World()
    let (_, unary) = world.call("/t.T/Echo") { call in
      call.send(OutboundMessage(head: [1, 2, 3]))
      call.sendEnd()
    }
    #expect(unary.messages.map(\.array) == [[1, 2, 3]] && unary.code == .ok)
    let (_, count) = world.call("/t.T/Count") { call in
      for index in 0..<100 { call.send(OutboundMessage(head: [UInt8](repeating: 1, count: index * 100))) }
      call.sendEnd()
    }
    #expect(count.messages.map(\.array) == [Array("100 495000".utf8)] && count.code == .ok)
    let (_, flood) = world.call("/t.T/Flood") { call in
      call.send(OutboundMessage(head: Array("500 20000".utf8)))
      call.sendEnd()
    }
    #expect(flood.bytes == 10_000_000 && flood.code == .ok)
    let (echo, both) = world.call("/t.T/Echo") { $0.send(OutboundMessage(head: [0])) }
    for index in 1..<5 {
      echo.send(OutboundMessage(head: [UInt8(index)]))
      world.loop.run()
      #expect(both.messages.count == index + 1)
    }
    echo.cancel()
    world.loop.run()
    #expect(both.code == .cancelled && world.log.ends.last?.status.code == .cancelled)
    let (_, failed) = world.call("/t.T/Fail") { $0.sendEnd() }
    #expect(failed.code == .failedPrecondition && failed.trailers.text("x-why") == "test")
    world.close()
  }

  @Test func identityIsWhatTheCallerSays() throws {
    let seen = Mutex<PeerIdentity?>(nil)
    let loop = EmbeddedEventLoop()
    let server = InProcessServer(on: loop) { call in
      seen.withLock { $0 = call.peer }
      return nil
    }
    let connecting = server.connect(as: PeerIdentity(subjectAlternativeURIs: ["skein:default/me"]))
    loop.run()
    let client = try connecting.wait()
    client.open(path: "/x/y") { Recorder($0) }
    loop.run()
    #expect(seen.withLock { $0?.subjectAlternativeURIs } == ["skein:default/me"])
    #expect(client.peer.commonName == "in-process")
    client.closeWhenIdle()
    loop.run()
    loop.advanceTime(by: .seconds(5))
    #expect(server.connectionCount == 0)
  }

  /// Twice the same: the same frames at the same ticks.
  @Test func theOrderIsAlwaysTheSame() throws {
    func run() throws -> [String] {
      let world = try World()
      let order = Mutex<[String]>([])
      for index in 0..<20 {
        world.client.open(path: "/t.T/Echo") { call in
          call.send(OutboundMessage(head: [UInt8](repeating: UInt8(index), count: 1 + index * 5000)))
          call.sendEnd()
          return Note { text in order.withLock { $0.append("\(index) \(text)") } }
        }
      }
      world.loop.run()
      world.close()
      return order.withLock { $0 }
    }
    let first = try run()
    #expect(first.count == 40)
    #expect(try run() == first)
  }

  // MARK: Time

  @Test func deadlinesOnTheTestsClock() throws {
    let world = try World()
    let (_, recorder) = world.call("/t.T/Hold", deadline: world.loop.now + .seconds(30)) {
      $0.send(OutboundMessage(head: [1]))
    }
    world.pass(.milliseconds(29_900))
    #expect(recorder.closedCount == 0)
    world.pass(.milliseconds(200))
    #expect(recorder.code == .deadlineExceeded)
    #expect(world.log.ends.count == 1)
    world.close()
  }

  @Test func idleAndKeepalive() throws {
    let world = try World()
    world.pass(.minutes(14))
    #expect(world.client.isUsable, "PINGs are answered")
    world.pass(.minutes(2))
    #expect(!world.client.isUsable && world.server.connectionCount == 0)
    #expect(world.events.all.map(\.kind) == [.idle])
  }

  @Test func aCallThatHoldsItsMessageHalfSent() throws {
    var limits = TransportLimits()
    limits.streamWindowBytes = 65_535
    let world = try World(limits: limits)
    // 200 KB that the window lets through in part only, because the handler never releases: not slow, ours.
    let (_, held) = world.call("/t.T/Hold") { call in
      for _ in 0..<20 { call.send(OutboundMessage(head: [UInt8](repeating: 1, count: 10_000))) }
    }
    world.pass(.minutes(10))
    #expect(held.closedCount == 0, "nobody is slow but the handler itself")
    world.close()
  }

  @Test func answersUnreadForTooLong() throws {
    var limits = TransportLimits()
    limits.outboundStallTimeout = .minutes(5)
    var small = TransportLimits()
    small.streamWindowBytes = 65_535
    let world = try World(limits: limits, clientLimits: small)
    let (_, stalled) = world.call("/t.T/Flood", releases: false) {
      $0.send(OutboundMessage(head: Array("3000 10000".utf8)))
    }
    let (_, reading) = world.call("/t.T/Echo") { $0.send(OutboundMessage(head: [1])) }
    world.pass(.seconds(290))
    #expect(stalled.closedCount == 0)
    world.pass(.seconds(60))
    #expect(stalled.code == .cancelled, "the stream was reset")
    #expect(world.log.ends.map(\.status.cause) == [.peerTooSlow])
    #expect(reading.closedCount == 0 && world.client.isUsable)
    world.close()
  }

  @Test func certificateAndAgeOnTheTestsClock() throws {
    var limits = TransportLimits()
    limits.goAwayGrace = .seconds(10)
    let clock = Mutex<Int64>(1_000_000)
    let identity = PeerIdentity(certificateNotAfter: 1_003_600)
    let world = try World(limits: limits, identity: identity, wallSeconds: { clock.withLock { $0 } })
    let (_, held) = world.call("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    for _ in 0..<3600 {
      clock.withLock { $0 += 1 }
      world.pass(.seconds(1))
    }
    #expect(world.client.isUsable && held.closedCount == 0, "valid to the end of its last second")
    clock.withLock { $0 += 1 }
    world.pass(.seconds(2))
    #expect(!world.client.isUsable && held.closedCount == 0 && world.log.asked == 1)
    world.pass(.seconds(11))
    #expect(held.code == .unavailable && world.server.connectionCount == 0)

    limits.maxConnectionAge = .minutes(60)
    let aging = try World(limits: limits)
    let (_, open) = aging.call("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    aging.pass(.minutes(53))
    #expect(aging.client.isUsable)
    aging.pass(.minutes(14))
    #expect(!aging.client.isUsable && aging.server.connectionCount == 0)
    #expect(open.code == .unavailable && aging.log.asked == 1)
  }

  @Test func agedConnectionsAndCallsEndGracefully() throws {
    var limits = TransportLimits()
    limits.maxConnectionAge = .minutes(10)
    let world = try World(limits: limits)
    // A handler that takes the hint ends with OK; nothing is cut.
    let (_, polite) = world.call("/t.T/Polite") { $0.send(OutboundMessage(head: [1])) }
    world.pass(.minutes(8))
    #expect(polite.closedCount == 0 && world.client.isUsable)
    world.pass(.minutes(4))
    #expect(polite.code == .ok && world.server.connectionCount == 0)

    limits.maxConnectionAge = nil
    limits.maxCallAge = .minutes(10)
    limits.goAwayGrace = .minutes(5)
    let other = try World(limits: limits)
    let (_, first) = other.call("/t.T/Polite") { $0.send(OutboundMessage(head: [1])) }
    let (_, stubborn) = other.call("/t.T/Hold") { $0.send(OutboundMessage(head: [1])) }
    other.pass(.minutes(8))
    #expect(first.closedCount == 0 && other.log.asked == 0)
    other.pass(.minutes(4))
    #expect(first.code == .ok && other.log.asked == 1 && stubborn.closedCount == 0)
    other.pass(.minutes(6))
    #expect(stubborn.code == .unavailable)
    #expect(other.log.ends.last?.status.message.contains("greatest age") == true)
    #expect(other.client.isUsable, "the connection goes on")
    other.close()
  }

  @Test func memoryIsAccountedFor() throws {
    let budget = MemoryBudget(limit: 1 << 20)
    let world = try World(budget: budget)
    let (_, held) = world.call("/t.T/Batch") { call in
      for _ in 0..<50 { call.send(OutboundMessage(head: [UInt8](repeating: 1, count: 10_000))) }
      call.sendEnd()
    }
    #expect(held.code == .ok && held.messages.count == 50)
    #expect(budget.reserved == 0)
    world.close()
  }

  /// On a loop with a thread it is simply a server without a port, also for async callers.
  @Test func onALoopOfThreads() async throws {
    let log = CallLog()
    let server = InProcessServer(on: TestServer.group.next()) { TestServer.route($0, log) }
    let client = try await server.connect().get()
    for size in [0, 1, 100_000, 5 << 20] {
      let answer = try await client.unary(
        path: "/t.T/Echo", message: OutboundMessage(head: [UInt8](repeating: 9, count: size)))
      #expect(answer.count == size)
    }
    try await withThrowingTaskGroup(of: Int.self) { group in
      for index in 0..<100 {
        group.addTask {
          try await client.unary(
            path: "/t.T/Echo", message: OutboundMessage(head: [UInt8](repeating: 9, count: index * 1000))
          ).count
        }
      }
      for try await _ in group {}
    }
    await client.close()
    try await server.drain(deadline: .now()).get()
    #expect(server.connectionCount == 0)
  }
}

/// Tells what it hears.
private final class Note: CallHandler {
  let tell: @Sendable (String) -> Void
  init(_ tell: @escaping @Sendable (String) -> Void) { self.tell = tell }
  func received(_ message: SharedBytes) { tell("message \(message.count)") }
  func closed(_ status: GRPCStatus, _ trailers: Metadata) { tell("closed \(status.code)") }
}
