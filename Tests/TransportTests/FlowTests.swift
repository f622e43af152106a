import NIOCore
import SkeinCore
import Testing

@testable import Transport

/// Memory stays bounded whoever is slow.
@Suite struct FlowTests {
  /// A client that does not release stops the server; what the server queues stays under its mark.
  @Test func slowReaderHoldsBoundedMemoryAtTheSender() async throws {
    var limits = TransportLimits()
    limits.streamWindowBytes = 256 << 10
    let server = try await TestServer.start()
    let client = try await server.connect(limits: limits)
    let (call, recorder) = client.record("/t.T/Flood", keeps: false, releases: false) { call in
      call.send(OutboundMessage(head: Array("3000 10000".utf8)))
    }
    let full = (256 << 10) / 10_005 * 10_000
    #expect(await eventually("the window fills") { recorder.bytes >= full })
    // Another call on the same connection is not held up.
    let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
    #expect(answer.count == 1)
    #expect(recorder.bytes <= 256 << 10)
    #expect(server.calls.mostQueued <= TransportLimits().callHighWaterBytes + 10_005)
    // Once it releases, all of it comes.
    var released = 0
    while released < 30_000_000 {
      let before = released
      await recorder.wait { $0.bytes > before || $0.status != nil }
      let now = recorder.bytes
      if now == before { break }
      call.eventLoop.execute { call.release(now - before) }
      released = now
    }
    #expect(await recorder.finished().code == .ok)
    #expect(recorder.bytes == 30_000_000)
    await client.close()
    await server.server.close()
  }

  /// A handler that does not release stops its client, whose queue is what grows, and that is its own.
  @Test func unreleasedMessagesStopTheSender() async throws {
    var limits = TransportLimits()
    limits.streamWindowBytes = 128 << 10
    let server = try await TestServer.start(limits: limits)
    let client = try await server.connect()
    let (call, _) = client.record("/t.T/Hold") { call in
      for _ in 0..<200 { call.send(OutboundMessage(head: [UInt8](repeating: 1, count: 10_000))) }
    }
    let full = (128 << 10) / 10_005 * 10_000
    #expect(await eventually("the window fills") { server.calls.receivedBytes >= full })
    let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
    #expect(answer.count == 1)
    #expect(server.calls.receivedBytes == full + 1)
    let writable = try await call.eventLoop.submit { call.isWritable }.get()
    #expect(!writable)
    await client.close()
    await server.server.close()
  }

  /// Both directions, a message far longer than the window, unreleased until it is whole.
  @Test func messageLongerThanTheWindow() async throws {
    var limits = TransportLimits()
    limits.streamWindowBytes = 65_535
    limits.connectionWindowBytes = 65_535
    let server = try await TestServer.start(limits: limits)
    let client = try await server.connect(limits: limits)
    for size in [65_530, 65_531, 65_536, 3 << 20] {
      let answer = try await client.unary(
        path: "/t.T/Echo", message: OutboundMessage(head: [UInt8](repeating: 5, count: size)),
        deadline: .now() + .seconds(10))
      #expect(answer.count == size)
    }
    // And one after another on one stream.
    let (_, recorder) = client.record("/t.T/Echo", keeps: false) { call in
      for _ in 0..<5 { call.send(OutboundMessage(head: [UInt8](repeating: 5, count: 200_000))) }
      call.sendEnd()
    }
    #expect(await recorder.finished().code == .ok)
    #expect(recorder.bytes == 1_000_000)
    await client.close()
    await server.server.close()
  }

  /// The budget throttles: a message waits for memory, and then goes on.
  @Test func spentBudgetStopsReadingUntilThereIsRoom() async throws {
    let budget = MemoryBudget(limit: 100_000)
    let server = try await TestServer.start(budget: budget)
    let client = try await server.connect()
    var reservation = budget.reserve(95_000)
    #expect(reservation != nil)
    let (_, recorder) = client.record("/t.T/Echo") { call in
      for index in 0..<20 {
        call.send(OutboundMessage(head: [UInt8](repeating: UInt8(index), count: 20_000)))
      }
      call.sendEnd()
    }
    // It cannot pass while the memory is taken; a second connection is not affected.
    let other = try await server.connect()
    let small = try await other.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
    #expect(small.count == 1)
    #expect(recorder.messages.isEmpty)
    reservation = nil
    #expect(await recorder.finished().code == .ok)
    #expect(recorder.messages.map(\.count) == [Int](repeating: 20_000, count: 20))
    #expect(recorder.messages.enumerated().allSatisfy { $1.array.first == UInt8($0) })
    await client.close()
    await other.close()
    await server.server.close()
    #expect(await eventually("all memory is given back") { budget.reserved == 0 })
  }

  /// A handler that lets go at the end of a read must hear of that end while the connection waits for memory.
  @Test func handlersHearReadIdleWhileMemoryIsShort() async throws {
    let budget = MemoryBudget(limit: 6000)
    let server = try await TestServer.start(budget: budget)
    let client = try await server.connect()
    let (_, recorder) = client.record("/t.T/Batch") { call in
      for index in 0..<200 { call.send(OutboundMessage(head: [UInt8](repeating: UInt8(index), count: 1000))) }
      call.sendEnd()
    }
    #expect(await recorder.finished().code == .ok)
    #expect(recorder.messages.map { $0.array.first } == (0..<200).map { UInt8($0) })
    await client.close()
    await server.server.close()
  }

  @Test func budgetSpentForTooLongRefusesTheCallOnly() async throws {
    let budget = MemoryBudget(limit: 1000)
    var limits = TransportLimits()
    limits.budgetWait = .milliseconds(20)
    let server = try await TestServer.start(limits: limits, budget: budget)
    let client = try await server.connect()
    do {
      _ = try await client.unary(
        path: "/t.T/Echo", message: OutboundMessage(head: [UInt8](repeating: 1, count: 50_000)))
      Issue.record("it must be refused")
    } catch let failure as RPCFailure {
      #expect(failure.status.code == .resourceExhausted)
      #expect(failure.status.message.contains("budget"))
    }
    let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1]))
    #expect(answer.count == 1)
    await client.close()
    await server.server.close()
  }

  /// A sender that ignores `isWritable` loses its call, not the process's memory.
  @Test func queueOfOneCallIsBounded() async throws {
    var limits = TransportLimits()
    limits.maxQueuedBytesPerCall = 100_000
    let server = try await TestServer.start()
    let client = try await server.connect(limits: limits)
    let (_, recorder) = client.record("/t.T/Hold") { call in
      for _ in 0..<100 { call.send(OutboundMessage(head: [UInt8](repeating: 1, count: 10_000))) }
    }
    #expect(await recorder.finished().code == .resourceExhausted)
    #expect(recorder.closedCount == 1)
    await client.close()
    await server.server.close()
  }
}
