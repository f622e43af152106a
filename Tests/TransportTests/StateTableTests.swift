import Foundation
import SkeinCore
import Testing

@testable import Transport

/// Every kind of frame in every state, to a server and to a client, over real TLS: what must come of it.
///
/// `SKEIN_PRINT_STATES=1` prints what comes of it, in the form of the tables.
@Suite(.serialized) struct StateTableTests {
  private static let isPrinting = ProcessInfo.processInfo.environment["SKEIN_PRINT_STATES"] == "1"

  // DATA, HEADERS and the same with END_STREAM, PRIORITY, RST_STREAM, SETTINGS and its ack, PUSH_PROMISE, PING
  // and its answer, GOAWAY, WINDOW_UPDATE, CONTINUATION, ALTSVC, ORIGIN, PRIORITY_UPDATE, an unknown type.
  static let server = FrameTable<ServerState>(
    """
    before the preface: c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1
    before SETTINGS: c1 c1 c1 c1 c1 c1 + c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1
    connection: c1 c1 c1 c1 . c1 + c1 c1 + . e . c1 . . . .
    idle stream: c1 c1 + + . c1 c1 c1 c1 c1 c1 c1 c1 c1 . . . .
    idle even stream: c1 c1 c1 c1 . c1 c1 c1 c1 c1 c1 c1 c1 c1 . . . .
    skipped stream: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    open: + + s1 + . + c1 c1 c1 c1 c1 c1 . c1 . . . .
    open, answering: + + s1 + . + c1 c1 c1 c1 c1 c1 + c1 . . . .
    half-closed (remote): c5 c5 c5 c5 . + c1 c1 c1 c1 c1 c1 . c1 . . . .
    closed: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    closed by the server's RST_STREAM: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    closed by the client's RST_STREAM: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    inside a header block: c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 + c1 c1 c1 c1
    inside another stream's header block: c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1
    new stream, the server is draining: c1 c1 . . . c1 c1 c1 c1 c1 c1 c1 c1 c1 . . . .
    begun stream, the server is draining: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    open, the server is draining: + + e + . e c1 c1 c1 c1 c1 c1 . c1 . . . .
    open, the client has sent GOAWAY: + + e + . e c1 c1 c1 c1 c1 c1 . c1 . . . .
    """)
  static let client = FrameTable<ClientState>(
    """
    before SETTINGS: c1 c1 c1 c1 c1 c1 + c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1
    connection: c1 c1 c1 c1 . c1 + c1 c1 + . e . c1 . . . .
    idle stream: c1 c1 c1 c1 . c1 c1 c1 c1 c1 c1 c1 c1 c1 . . . .
    idle even stream: c1 c1 c1 c1 . c1 c1 c1 c1 c1 c1 c1 c1 c1 . . . .
    open: c1 c1 + + . + c1 c1 c1 c1 c1 c1 . c1 . . . .
    open, answered: + + s1 + . + c1 c1 c1 c1 c1 c1 . c1 . . . .
    half-closed (local): c1 c1 + + . + c1 c1 c1 c1 c1 c1 . c1 . . . .
    half-closed (local), answered: + + s1 + . + c1 c1 c1 c1 c1 c1 . c1 . . . .
    closed: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    closed early by the server's end: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    closed by the server's RST_STREAM: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    closed by the client's RST_STREAM: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    inside a header block: c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 + c1 c1 c1 c1
    inside another stream's header block: c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1 c1
    open, the server has sent GOAWAY: c1 c1 + e . e c1 c1 c1 c1 c1 c1 . c1 . . . .
    left out by GOAWAY: . . . . . . c1 c1 c1 c1 c1 c1 . c1 . . . .
    """)

  @Test func tablesAreComplete() {
    #expect(Self.server.faults == [])
    #expect(Self.client.faults == [])
  }

  /// Docs/conformance.md shows the same tables. `SKEIN_WRITE_DOCS=1` writes them.
  @Test func pageShowsTheTables() throws {
    let page = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Docs/conformance.md")
    var text = try String(contentsOf: page, encoding: .utf8)
    let tables = [
      ("server", Self.server.markdown), ("client", Self.client.markdown),
      ("malformed", MalformedFrame.markdown),
    ]
    for (name, table) in tables {
      let begin = "<!-- states: \(name) -->\n"
      let parts = text.components(separatedBy: begin)
      try #require(parts.count == 2, "\(begin) stands once in the page")
      let rest = try #require(parts[1].range(of: "<!-- end of states -->"))
      if ProcessInfo.processInfo.environment["SKEIN_WRITE_DOCS"] == "1" {
        text = parts[0] + begin + table + parts[1][rest.lowerBound...]
        try text.write(to: page, atomically: true, encoding: .utf8)
      } else {
        #expect(parts[1][..<rest.lowerBound] == table, "the page differs: run with SKEIN_WRITE_DOCS=1")
      }
    }
  }

  @Test(arguments: ServerState.allCases) func server(state: ServerState) async throws {
    var server = try await CountedServer.start()
    var found: [FrameKind: FrameOutcome] = [:]
    for kind in FrameKind.allCases {
      let scene = try await ServerScene.stage(state, server)
      let outcome = await FrameProbe.outcome(
        of: kind.bytes(scene.stream, scene.block), on: scene.stream, scene.peer
      ) { [server] in server.counts }
      found[kind] = outcome
      let expected = Self.server.cells[state]?[kind]
      if !Self.isPrinting {
        #expect(outcome == expected, "\(kind.rawValue) to a server, \(state.rawValue)")
      }
      scene.peer.close()
      if [.draining, .drainingBegun, .drainingOpen].contains(state) {
        await server.server.close()
        server = try await CountedServer.start()
      }
    }
    if Self.isPrinting { print("SERVER " + FrameTable.line(state, found)) }
    await server.server.close()
    #expect(server.server.connectionCount == 0)
    #expect(await eventually("no handler is left") { server.handlersAlive == 0 })
    #expect(server.budget.reserved == 0)
  }

  /// Without trailers nothing more can come: the call must not wait for its own end or its deadline.
  @Test func answerThatEndsWithDataEndsTheCall() async throws {
    let listener = try await FrameListener.start()
    let scene = try await ClientScene.stage(.answered, listener)
    scene.peer.send(FrameKind.dataEnd.bytes(1, []))
    let recorder = try #require(scene.recorders.first)
    try #require(await eventually("the call ends") { recorder.closedCount == 1 })
    #expect(await recorder.finished().code == .unknown)
    #expect(recorder.messages.map(\.array) == [[42]])
    // Our own side is given up, so that the server forgets the stream.
    #expect(
      await scene.peer.hears { $0.frames.contains { $0.type == 3 && $0.stream == 1 && $0.errorCode == 0 } })
    scene.peer.close()
    await scene.connection?.close()
    await listener.close()
  }

  @Test(arguments: ClientState.allCases) func client(state: ClientState) async throws {
    let listener = try await FrameListener.start()
    var found: [FrameKind: FrameOutcome] = [:]
    for kind in FrameKind.allCases {
      let scene = try await ClientScene.stage(state, listener)
      let outcome = await FrameProbe.outcome(
        of: kind.bytes(scene.stream, scene.block), on: scene.stream, scene.peer
      ) { scene.effects }
      found[kind] = outcome
      let expected = Self.client.cells[state]?[kind]
      if !Self.isPrinting {
        #expect(outcome == expected, "\(kind.rawValue) to a client, \(state.rawValue)")
      }
      scene.peer.close()
      await scene.connection?.close()
      #expect(scene.recorders.allSatisfy { $0.closedCount == 1 }, "each call ends exactly once")
    }
    if Self.isPrinting { print("CLIENT " + FrameTable.line(state, found)) }
    await listener.close()
  }
}
