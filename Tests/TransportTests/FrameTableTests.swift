import Foundation
import NIOCore
import NIOEmbedded
import SkeinCore
import Synchronization
import Testing

@testable import Transport

/// Every kind of frame in every state of a stream and a connection, on server and client, in memory.
///
/// What happens is recorded in `FrameTable.txt`, which is the assertion: a change of behaviour is a change of
/// that file (`SKEIN_RECORD=1` writes it anew; read the difference against RFC 9113). Beside that each cell must
/// end in one of two ways: the connection is closed with a reason, or it still serves a call; and all memory is
/// given back.
@Suite struct FrameTableTests {
  private static let path = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("FrameTable.txt")

  @Test func theTableHolds() throws {
    var lines: [String] = []
    for (side, states) in [("server", ServerCell.states), ("client", ClientCell.states)] {
      for state in states {
        for (name, frame) in TableFrame.all(side) {
          let outcome =
            side == "server"
            ? try ServerCell(state).outcome(frame) : try ClientCell(state).outcome(frame)
          lines.append("\(side) | \(state) | \(name) | \(outcome)")
        }
      }
    }
    let table = lines.joined(separator: "\n") + "\n"
    if ProcessInfo.processInfo.environment["SKEIN_RECORD"] != nil {
      try table.write(to: Self.path, atomically: true, encoding: .utf8)
    }
    let recorded = try String(contentsOf: Self.path, encoding: .utf8).split(separator: "\n").map(String.init)
    #expect(recorded.count == lines.count)
    for (now, before) in zip(lines, recorded) where now != before {
      Issue.record("now: \(now)\nrecorded: \(before)")
    }
    print("\(lines.count) cells")
  }

  /// Any frames in any order: never a trap, never a hang, never memory that is kept.
  @Test func randomOrder() throws {
    var random = SeededGenerator(seed: 0x5EED_0006)
    print("seed 0x5EED0006")
    for _ in 0..<400 {
      let server = try ServerCell("idle")
      let client = try ClientCell("open")
      for _ in 0..<Int.random(in: 1...12, using: &random) {
        server.send(TableFrame.all("server").randomElement(using: &random)!.1)
        client.send(TableFrame.all("client").randomElement(using: &random)!.1)
      }
      #expect(server.end() == "")
      #expect(client.end() == "")
    }
  }
}

/// The frames, on stream 1 unless their name says otherwise.
private enum TableFrame {
  static func all(_ side: String) -> [(String, [UInt8])] {
    let f = Frames.frame
    let request = Frames.request("/t.T/Hold")
    let response = Frames.literal(":status", "200") + Frames.literal("content-type", "application/grpc")
    let trailers = Frames.literal("grpc-status", "0")
    let headers = side == "server" ? request : response
    let block = side == "server" ? Frames.literal("x-late", "1") : trailers
    return [
      ("DATA empty", f(0, 0, 1, [])),
      ("DATA empty END_STREAM", f(0, 1, 1, [])),
      ("DATA message", f(0, 0, 1, [0, 0, 0, 0, 2, 8, 9])),
      ("DATA message END_STREAM", f(0, 1, 1, [0, 0, 0, 0, 2, 8, 9])),
      ("DATA half a prefix END_STREAM", f(0, 1, 1, [0, 0])),
      ("DATA flag 7", f(0, 0, 1, [7, 0, 0, 0, 0])),
      ("DATA padding beyond the frame", f(0, 8, 1, [200, 1, 2])),
      ("DATA on stream 0", f(0, 0, 0, [1])),
      ("HEADERS", f(1, 4, 1, headers)),
      ("HEADERS END_STREAM", f(1, 5, 1, headers)),
      ("HEADERS trailers", f(1, 5, 1, block)),
      ("HEADERS trailers without END_STREAM", f(1, 4, 1, block)),
      ("HEADERS unfinished", f(1, 0, 1, headers)),
      ("HEADERS on stream 0", f(1, 4, 0, headers)),
      ("HEADERS on stream 2", f(1, 4, 2, headers)),
      ("HEADERS on stream 3", f(1, 4, 3, headers)),
      ("HEADERS depends on itself", f(1, 0x24, 1, [0, 0, 0, 1, 9] + headers)),
      ("PRIORITY", f(2, 0, 1, [0, 0, 0, 0, 5])),
      ("PRIORITY of 4 bytes", f(2, 0, 1, [0, 0, 0, 0])),
      ("RST_STREAM CANCEL", f(3, 0, 1, [0, 0, 0, 8])),
      ("RST_STREAM NO_ERROR", f(3, 0, 1, [0, 0, 0, 0])),
      ("RST_STREAM REFUSED", f(3, 0, 1, [0, 0, 0, 7])),
      ("RST_STREAM of 3 bytes", f(3, 0, 1, [0, 0, 8])),
      ("SETTINGS", f(4, 0, 0, [])),
      ("SETTINGS ACK", f(4, 1, 0, [])),
      ("SETTINGS ACK with bytes", f(4, 1, 0, [0, 4, 0, 0, 0, 0])),
      ("SETTINGS of 5 bytes", f(4, 0, 0, [0, 4, 0, 0, 0])),
      ("SETTINGS on stream 1", f(4, 0, 1, [])),
      ("SETTINGS window over 2^31", f(4, 0, 0, [0, 4, 0xff, 0xff, 0xff, 0xff])),
      ("SETTINGS frame size 1", f(4, 0, 0, [0, 5, 0, 0, 0, 1])),
      ("SETTINGS unknown", f(4, 0, 0, [0x7a, 0x7a, 1, 2, 3, 4])),
      ("PUSH_PROMISE", f(5, 4, 1, [0, 0, 0, 2] + request)),
      ("PING", f(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8])),
      ("PING ACK", f(6, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8])),
      ("PING of 7 bytes", f(6, 0, 0, [1, 2, 3, 4, 5, 6, 7])),
      ("PING on stream 1", f(6, 0, 1, [1, 2, 3, 4, 5, 6, 7, 8])),
      ("GOAWAY", f(7, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0])),
      ("GOAWAY nothing processed", f(7, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0])),
      ("GOAWAY of 4 bytes", f(7, 0, 0, [0, 0, 0, 0])),
      ("GOAWAY on stream 1", f(7, 0, 1, [0, 0, 0, 0, 0, 0, 0, 0])),
      ("WINDOW_UPDATE", f(8, 0, 1, [0, 0, 1, 0])),
      ("WINDOW_UPDATE of 0", f(8, 0, 1, [0, 0, 0, 0])),
      ("WINDOW_UPDATE over 2^31", f(8, 0, 1, [0x7f, 0xff, 0xff, 0xff])),
      ("WINDOW_UPDATE of 3 bytes", f(8, 0, 1, [0, 0, 1])),
      ("WINDOW_UPDATE connection", f(8, 0, 0, [0, 0, 1, 0])),
      ("WINDOW_UPDATE connection of 0", f(8, 0, 0, [0, 0, 0, 0])),
      ("WINDOW_UPDATE connection over 2^31", f(8, 0, 0, [0x7f, 0xff, 0xff, 0xff])),
      ("CONTINUATION", f(9, 4, 1, Frames.literal("x-more", "1"))),
      ("CONTINUATION unfinished", f(9, 0, 1, Frames.literal("x-more", "1"))),
      ("CONTINUATION on stream 3", f(9, 4, 3, Frames.literal("x-more", "1"))),
      ("PRIORITY_UPDATE", f(0x10, 0, 0, [0, 0, 0, 1] + Array("u=1".utf8))),
      ("unknown type", f(0xbe, 0xff, 1, [1, 2, 3])),
      ("frame over the limit", [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]),
      ("HPACK rubbish", f(1, 4, 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
    ]
  }
}

/// Plain bytes on one end of a pair; says what came in words.
final class MemoryPeer: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  private var bytes: [UInt8] = []
  private var words: [String] = []
  private let inflater = HeaderInflater()
  private var skipsPreface: Bool

  init(skipsPreface: Bool) { self.skipsPreface = skipsPreface }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    bytes += Array(unwrapInboundIn(data).readableBytesView)
    if skipsPreface, bytes.count >= 24 {
      bytes.removeFirst(24)
      skipsPreface = false
    }
    while !skipsPreface, bytes.count >= 9 {
      let length = Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2])
      guard bytes.count >= 9 + length else { return }
      let payload = Array(bytes[9..<9 + length])
      note(type: bytes[3], flags: bytes[4], stream: bytes[8], payload)
      bytes.removeFirst(9 + length)
    }
  }

  private func note(type: UInt8, flags: UInt8, stream: UInt8, _ payload: [UInt8]) {
    switch type {
    case 0 where !payload.isEmpty: words.append("data\(stream)")
    case 1:
      let text = inflater.inflate(payload)
      for line in text.split(separator: "\n") where line.hasPrefix("grpc-status=") {
        words.append("status\(stream)=\(line.dropFirst(12))")
      }
    case 3: words.append("reset\(stream)=\(payload.last ?? 255)")
    case 6 where flags & 1 != 0: words.append("pong")
    case 7: words.append("goaway=\(payload[7])")
    default: break
    }
  }

  /// What came since the last time.
  func take() -> [String] {
    defer { words = [] }
    return words
  }
}

/// Our server in one state, and a peer that may send anything.
final class ServerCell {
  static let states = [
    "before the preface", "idle", "in a header block", "open", "inside a message", "half-closed", "answered",
    "closed", "reset by the peer", "reset by us", "draining",
  ]

  private let loop = EmbeddedEventLoop()
  private let peer = MemoryPeer(skipsPreface: false)
  private let channel: MemoryChannel
  private let server: Transport.ServerState
  private let budget = MemoryBudget(limit: 1 << 20)
  let events = EventLog()
  let log = CallLog()

  init(_ state: String, limits: TransportLimits = TransportLimits()) throws {
    let (log, events) = (log, events)
    let nothing = PEMSource.bytes([])
    server = Transport.ServerState(
      configuration: ServerConfiguration(
        tls: ServerTLS(certificateChain: nothing, privateKey: nothing, clientAuthorities: nothing),
        limits: limits, budget: budget, log: { events.add($0) }), context: nil
    ) { call in
      if call.path == "/t.T/Cancel" {
        call.eventLoop.execute { call.cancel() }
        return HoldHandler(call, log)
      }
      return TestServer.route(call, log)
    }
    _ = server.admit()
    let role = ServerRole(server: server, now: .now())
    let connection = try #require(
      Connection(
        role: role, security: .memory(PeerIdentity()), limits: limits, budget: budget,
        log: server.configuration.log, eventLoop: loop, remoteAddress: "peer"))
    server.add(connection)
    let (mine, theirs) = MemoryChannel.pair(loop, limits)
    channel = mine
    try theirs.activate(connection)
    try mine.activate(peer)
    loop.run()
    if state != "before the preface" {
      send(Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Frames.frame(4, 0, 0, []))
    }
    let hold = Frames.request("/t.T/Hold")
    switch state {
    case "in a header block": send(Frames.frame(1, 0, 1, hold))
    case "open", "draining": send(Frames.frame(1, 4, 1, hold))
    case "inside a message": send(Frames.frame(1, 4, 1, hold) + Frames.frame(0, 0, 1, [0, 0, 0, 1, 0, 7]))
    case "half-closed": send(Frames.frame(1, 5, 1, hold))
    case "answered": send(Frames.frame(1, 4, 1, Frames.request("/t.T/Fail")))
    case "closed": send(Frames.frame(1, 5, 1, Frames.request("/t.T/Echo")))
    case "reset by the peer": send(Frames.frame(1, 4, 1, hold) + Frames.frame(3, 0, 1, [0, 0, 0, 8]))
    case "reset by us": send(Frames.frame(1, 4, 1, Frames.request("/t.T/Cancel")))
    default: break
    }
    if state == "draining" { role.drain(connection) }
    loop.run()
    _ = peer.take()
  }

  func send(_ bytes: [UInt8]) {
    guard channel.isActive else { return }
    channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    loop.run()
  }

  func pass(_ amount: TimeAmount) { loop.advanceTime(by: amount) }
  func heard() -> [String] { peer.take() }

  func outcome(_ frame: [UInt8]) throws -> String {
    send(frame)
    var words = peer.take()
    if !channel.isActive {
      words.append("closed")
      // An error of the peer's is told to the operator.
      let isTold = events.all.contains { $0.kind == .protocolError || $0.kind == .abuse }
      if words.contains(where: { $0.hasPrefix("goaway=") && $0 != "goaway=0" }), !isTold {
        words.append("UNTOLD")
      }
    } else {
      words.append(serves() ? "serves" : "waits")
    }
    let rest = end()
    if !rest.isEmpty { words.append(rest) }
    return words.joined(separator: " ")
  }

  private func serves() -> Bool {
    send(
      Frames.frame(1, 4, 101, Frames.request("/t.T/Echo")) + Frames.frame(0, 1, 101, [0, 0, 0, 0, 1, 1]))
    let words = peer.take()
    return words.contains("data101") && words.contains("status101=0")
  }

  /// Closes; says what is left over.
  func end() -> String {
    channel.close(promise: nil)
    loop.run()
    loop.advanceTime(by: .seconds(60))
    return (server.connectionCount == 0 ? "" : "CONNECTION LEFT ")
      + (budget.reserved == 0 ? "" : "MEMORY LEFT")
  }
}

/// Our client in one state, and a server that may send anything.
private final class ClientCell {
  static let states = [
    "before SETTINGS", "idle", "open", "half-closed", "headers received", "inside a message", "closed",
    "cancelled",
  ]

  private let loop = EmbeddedEventLoop()
  private let peer = MemoryPeer(skipsPreface: true)
  private let channel: MemoryChannel
  private let connection: GRPCConnection
  private let budget = MemoryBudget(limit: 1 << 20)
  private let box = RecorderBox()

  init(_ state: String) throws {
    let gauge = ConnectionGauge()
    let role = ClientRole(
      host: "peer", ready: loop.makePromise(of: Void.self), gauge: gauge, onEnd: {})
    let limits = TransportLimits()
    let made = try #require(
      Connection(
        role: role, security: .memory(PeerIdentity()), limits: limits, budget: budget, log: nil,
        eventLoop: loop,
        remoteAddress: "peer"))
    let (mine, theirs) = MemoryChannel.pair(loop, limits)
    channel = mine
    try theirs.activate(made)
    try mine.activate(peer)
    connection = GRPCConnection(connection: made, role: role, channel: theirs, gauge: gauge)
    loop.run()
    if state != "before SETTINGS" { send(Frames.frame(4, 0, 0, [])) }
    guard state != "before SETTINGS", state != "idle" else { return }
    let ends = state != "open"
    let call = connection.open(path: "/t.T/Echo") { [box] call in
      let recorder = Recorder(call, keeps: false)
      box.value.withLock { $0 = recorder }
      call.send(OutboundMessage(head: [1]))
      if ends { call.sendEnd() }
      return recorder
    }
    loop.run()
    let response = Frames.literal(":status", "200") + Frames.literal("content-type", "application/grpc")
    switch state {
    case "headers received": send(Frames.frame(1, 4, 1, response))
    case "inside a message":
      send(Frames.frame(1, 4, 1, response) + Frames.frame(0, 0, 1, [0, 0, 0, 1, 0, 7]))
    case "closed":
      send(Frames.frame(1, 4, 1, response) + Frames.frame(1, 5, 1, Frames.literal("grpc-status", "0")))
    case "cancelled": call.cancel()
    default: break
    }
    loop.run()
    _ = peer.take()
  }

  func send(_ bytes: [UInt8]) {
    guard channel.isActive else { return }
    channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    loop.run()
  }

  func outcome(_ frame: [UInt8]) throws -> String {
    send(frame)
    var words = peer.take()
    if let recorder = box.value.withLock({ $0 }) {
      words.append(recorder.code.map { "call=\($0.name)" } ?? "call runs")
      if recorder.closedCount > 1 { words.append("CLOSED TWICE") }
    }
    words.append(channel.isActive ? (connection.isUsable ? "usable" : "drains") : "closed")
    let rest = end()
    if !rest.isEmpty { words.append(rest) }
    return words.joined(separator: " ")
  }

  func end() -> String {
    channel.close(promise: nil)
    loop.run()
    loop.advanceTime(by: .seconds(60))
    let isClosed = box.value.withLock { $0 }.map { $0.closedCount == 1 } ?? true
    return (isClosed ? "" : "CALL LEFT ") + (budget.reserved == 0 ? "" : "MEMORY LEFT")
  }
}

private final class RecorderBox: Sendable {
  let value = Mutex<Recorder?>(nil)
}
