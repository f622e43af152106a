import NIOCore
import SkeinCore
import Synchronization

@testable import Transport

/// Where a server stands when the frame comes: the rows of its table.
enum ServerState: String, CaseIterable, Sendable {
  /// TLS is up, the preface has not come.
  case beforePreface = "before the preface"
  /// The preface has come, the client's SETTINGS have not.
  case beforeSettings = "before SETTINGS"
  /// On stream 0.
  case connection = "connection"
  /// On stream 1, which nobody has used.
  case idle = "idle stream"
  /// On stream 2, which only a server may open.
  case idleEven = "idle even stream"
  /// On stream 1 after stream 3 was opened.
  case skipped = "skipped stream"
  /// Request headers have come; the call waits for more.
  case open = "open"
  /// The same, and response headers have gone; DATA waits for the client's window.
  case answering = "open, answering"
  /// The request is complete, the call has not ended.
  case halfClosedRemote = "half-closed (remote)"
  /// Both sides have ended.
  case closed = "closed"
  /// The server answered an unfinished request and reset the rest of it with NO_ERROR.
  case closedByServer = "closed by the server's RST_STREAM"
  case closedByClient = "closed by the client's RST_STREAM"
  /// On stream 1, between HEADERS without END_HEADERS and its CONTINUATION.
  case headerBlock = "inside a header block"
  /// On stream 3, while the header block of stream 1 is unfinished.
  case otherHeaderBlock = "inside another stream's header block"
  /// The server has sent GOAWAY; on the new stream 3.
  case draining = "new stream, the server is draining"
  /// The same, after the HEADERS of stream 3, which the server leaves unanswered: a race, nobody's fault.
  case drainingBegun = "begun stream, the server is draining"
  /// The same, on stream 1, which is open.
  case drainingOpen = "open, the server is draining"
  /// The client has sent GOAWAY; on stream 1, which is open.
  case clientLeaves = "open, the client has sent GOAWAY"
}

/// A server whose calls are counted.
struct CountedServer {
  struct Counts: Equatable, Sendable {
    var begun = 0
    var messages = 0
    var ends = 0
    var closed = 0
  }

  final class Counter: Sendable {
    let counts = Mutex(Counts())
    /// Handlers alive.
    let alive = Mutex(0)
  }

  let server: GRPCServer
  let port: Int
  let counter: Counter
  let budget: MemoryBudget

  static func start(limits: TransportLimits = TransportLimits()) async throws -> CountedServer {
    let counter = Counter()
    let budget = MemoryBudget(limit: 64 << 20)
    let server = try GRPCServer(
      configuration: ServerConfiguration(
        tls: TestCertificates.shared.server(), limits: limits, budget: budget),
      group: FramePeer.group
    ) { call in Handler(call, counter) }
    return CountedServer(
      server: server, port: try await server.bind(host: "127.0.0.1", port: 0), counter: counter,
      budget: budget)
  }

  var counts: Counts { counter.counts.withLock { $0 } }
  var handlersAlive: Int { counter.alive.withLock { $0 } }

  /// `/t.T/Hold` keeps quiet and the credit, `/t.T/Deny` ends at once, `/t.T/Echo` answers.
  private final class Handler: CallHandler {
    let call: Call
    let counter: Counter

    init(_ call: Call, _ counter: Counter) {
      self.call = call
      self.counter = counter
      counter.alive.withLock { $0 += 1 }
      counter.counts.withLock { $0.begun += 1 }
      if call.path == "/t.T/Deny" { call.finish(GRPCStatus(.permissionDenied, "no")) }
      if call.path == "/t.T/Echo" { call.sendHeaders() }
    }
    deinit { counter.alive.withLock { $0 -= 1 } }

    func received(_ message: SharedBytes) {
      counter.counts.withLock { $0.messages += 1 }
      if call.path != "/t.T/Hold" { call.release(message.count) }
      if call.path == "/t.T/Echo" { call.send(OutboundMessage(message)) }
    }
    func receivedEnd() {
      counter.counts.withLock { $0.ends += 1 }
      if call.path != "/t.T/Hold" { call.finish(.ok) }
    }
    func closed(_ status: GRPCStatus, _ trailers: Metadata) { counter.counts.withLock { $0.closed += 1 } }
  }
}

/// Puts a server into a state.
struct ServerScene: Sendable {
  let peer: FramePeer
  /// The stream that the frame goes to, and the header block that is in place there.
  let stream: UInt32
  let block: [UInt8]

  static let trailers = Frames.literal("x-trailer", "1")

  static func stage(_ state: ServerState, _ server: CountedServer) async throws -> ServerScene {
    let peer = try await FramePeer.connect(server.port)
    var scene = ServerScene(peer: peer, stream: 1, block: Frames.request("/t.T/Hold"))
    let start = FramePeer.preface + Frames.frame(4, 0, 0, []) + Frames.frame(4, 1, 0, [])
    let hold = Frames.request("/t.T/Hold")
    switch state {
    case .beforePreface: return scene
    case .beforeSettings:
      scene = ServerScene(peer: peer, stream: 0, block: hold)
      peer.send(FramePeer.preface)
      // Its SETTINGS have come: it has read nothing wrong so far.
      _ = await peer.hears { $0.frames.contains { $0.type == 4 } }
      return scene
    case .connection:
      scene = ServerScene(peer: peer, stream: 0, block: hold)
      peer.send(start)
    case .idle: peer.send(start)
    case .idleEven:
      scene = ServerScene(peer: peer, stream: 2, block: hold)
      peer.send(start)
    case .skipped: peer.send(start + Frames.frame(1, 4, 3, hold))
    case .open:
      scene = ServerScene(peer: peer, stream: 1, block: trailers)
      peer.send(start + Frames.frame(1, 4, 1, hold))
    case .answering:
      scene = ServerScene(peer: peer, stream: 1, block: trailers)
      // An initial window of 0.
      peer.send(
        FramePeer.preface + Frames.frame(4, 0, 0, [0, 4, 0, 0, 0, 0]) + Frames.frame(4, 1, 0, [])
          + Frames.frame(1, 4, 1, Frames.request("/t.T/Echo")) + Frames.frame(0, 0, 1, [0, 0, 0, 0, 1, 7]))
    case .halfClosedRemote:
      scene = ServerScene(peer: peer, stream: 1, block: trailers)
      peer.send(start + Frames.frame(1, 5, 1, hold))
    case .closed: peer.send(start + Frames.frame(1, 5, 1, Frames.request("/t.T/Deny")))
    case .closedByServer: peer.send(start + Frames.frame(1, 4, 1, Frames.request("/t.T/Deny")))
    case .closedByClient:
      peer.send(start + Frames.frame(1, 4, 1, hold) + Frames.frame(3, 0, 1, [0, 0, 0, 8]))
    case .headerBlock, .otherHeaderBlock:
      peer.send(start)
      try await scene.settle()
      // A ping inside the block would be the error: the bytes are read in order, so none is needed.
      peer.send(Frames.frame(1, 0, 1, hold))
      return ServerScene(peer: peer, stream: state == .headerBlock ? 1 : 3, block: trailers)
    case .draining, .drainingBegun, .drainingOpen:
      peer.send(start + Frames.frame(1, 4, 1, hold))
      try await scene.settle()
      Task { await server.server.drain(deadline: .now() + .seconds(5)) }
      guard await peer.hears({ $0.frames.contains { $0.type == 7 } }) else { throw ChannelError.eof }
      if state == .drainingBegun { peer.send(Frames.frame(1, 4, 3, hold)) }
      scene = ServerScene(
        peer: peer, stream: state == .drainingOpen ? 1 : 3, block: state == .draining ? hold : trailers)
    case .clientLeaves:
      scene = ServerScene(peer: peer, stream: 1, block: trailers)
      peer.send(start + Frames.frame(1, 4, 1, hold) + Frames.frame(7, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0]))
    }
    try await scene.settle()
    return scene
  }

  /// Everything sent so far has been read, and what that caused has been sent.
  private func settle() async throws {
    guard await FrameProbe.exchange(peer), await FrameProbe.exchange(peer) else { throw ChannelError.eof }
  }
}

/// Sends one frame and looks what comes of it.
enum FrameProbe {
  /// A PING and its answer; false when the connection ended instead.
  static func exchange(_ peer: FramePeer) async -> Bool {
    let payload = peer.freshPing()
    peer.send(Frames.frame(6, 0, 0, payload))
    let isAnswer: @Sendable (FramePeer.Frame) -> Bool = {
      $0.type == 6 && $0.flags == 1 && $0.payload == payload
    }
    let answered = await peer.hears { $0.isClosed || $0.frames.contains(where: isAnswer) }
    return answered && peer.heard.frames.contains(where: isAnswer)
  }

  /// - Parameter effects: what handlers have seen so far; it changes if the frame reached one.
  static func outcome<Effects: Equatable>(
    of frame: [UInt8], on stream: UInt32, _ peer: FramePeer, _ effects: () -> Effects
  ) async -> FrameOutcome? {
    let (mark, before) = (peer.heard.frames.count, effects())
    peer.send(frame)
    // The second answer comes after everything that the first bytes caused has left.
    let isAlive = await exchange(peer) ? await exchange(peer) : false
    if !isAlive {
      guard await peer.hears({ $0.isClosed }) else { return nil }
    }
    let heard = peer.heard.frames.dropFirst(mark)
    if !isAlive {
      let code = heard.last { $0.type == 7 }?.errorCode ?? 0
      return code == 0 ? .ended : .connection(code)
    }
    if let reset = heard.first(where: { $0.type == 3 && $0.stream == stream }), reset.errorCode != 0 {
      return .stream(reset.errorCode)
    }
    let isOwnPing: (FramePeer.Frame) -> Bool = { $0.type == 6 && $0.payload.starts(with: "ping".utf8) }
    let answers = heard.filter { !isOwnPing($0) && $0.type != 8 }
    return answers.isEmpty && effects() == before ? .ignored : .accepted
  }
}
