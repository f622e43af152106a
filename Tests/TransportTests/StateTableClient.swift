import NIOCore
import SkeinCore
import Synchronization

@testable import Transport

/// Where a client stands when the frame comes: the rows of its table.
enum ClientState: String, CaseIterable, Sendable {
  /// TLS is up, the server's SETTINGS have not come.
  case beforeSettings = "before SETTINGS"
  /// On stream 0, without a call.
  case connection = "connection"
  /// On stream 1, which nobody has used.
  case idle = "idle stream"
  /// On stream 2, which only a push could open; pushes are off.
  case idleEven = "idle even stream"
  /// The request goes on, nothing has been answered.
  case open = "open"
  /// The same, and response headers have come.
  case answered = "open, answered"
  /// The request is complete, nothing has been answered.
  case halfClosedLocal = "half-closed (local)"
  /// The same, and response headers have come.
  case halfClosedAnswered = "half-closed (local), answered"
  /// Both sides have ended.
  case closed = "closed"
  /// The server ended first; the client reset its own side with NO_ERROR.
  case closedEarly = "closed early by the server's end"
  case closedByServer = "closed by the server's RST_STREAM"
  case closedByClient = "closed by the client's RST_STREAM"
  /// On stream 1, between HEADERS without END_HEADERS and its CONTINUATION.
  case headerBlock = "inside a header block"
  /// On stream 3, while the header block of stream 1 is unfinished.
  case otherHeaderBlock = "inside another stream's header block"
  /// The server has sent GOAWAY that includes stream 1; on it.
  case draining = "open, the server has sent GOAWAY"
  /// The server has sent GOAWAY that leaves stream 3 out; on it, while stream 1 goes on.
  case leftOut = "left out by GOAWAY"
}

/// Puts a client into a state.
struct ClientScene: Sendable {
  let peer: FramePeer
  let stream: UInt32
  /// The header block that is in place there: of a response, or its trailers.
  let block: [UInt8]
  /// nil while the client still waits for SETTINGS.
  let connection: GRPCConnection?
  let recorders: [Recorder]

  static let headers =
    Frames.literal(":status", "200") + Frames.literal("content-type", "application/grpc")
  static let trailers = Frames.literal("grpc-status", "0")

  static func stage(
    _ state: ClientState, _ listener: FrameListener, limits: TransportLimits = TransportLimits()
  ) async throws -> ClientScene {
    let port = listener.port
    let connecting = Task {
      try await GRPCConnection.connect(
        host: "localhost", port: port, tls: TestCertificates.shared.client(), limits: limits,
        group: FramePeer.group)
    }
    let peer = try await listener.accept()
    if state == .beforeSettings {
      return ClientScene(peer: peer, stream: 0, block: headers, connection: nil, recorders: [])
    }
    peer.send(Frames.frame(4, 0, 0, []) + Frames.frame(4, 1, 0, []))
    let connection = try await connecting.value
    var recorders: [Recorder] = []
    if ![.connection, .idle, .idleEven].contains(state) {
      let ends = [.halfClosedLocal, .halfClosedAnswered, .closed, .headerBlock, .otherHeaderBlock].contains(
        state)
      let (call, recorder) = connection.record("/t.T/M", releases: false) { if ends { $0.sendEnd() } }
      recorders.append(recorder)
      _ = await peer.hears { $0.frames.contains { $0.type == 1 && (!ends || $0.stream == 1) } }
      if state == .closedByClient { call.eventLoop.execute { call.cancel() } }
    }
    if state == .leftOut { recorders.append(connection.record("/t.T/M") { _ in }.1) }
    let scene = ClientScene(
      peer: peer, stream: stream(state), block: block(state), connection: connection, recorders: recorders)
    try await scene.settle()
    peer.send(before(state))
    if state != .headerBlock, state != .otherHeaderBlock { try await scene.settle() }
    return scene
  }

  private static func stream(_ state: ClientState) -> UInt32 {
    switch state {
    case .connection, .beforeSettings: 0
    case .idleEven: 2
    case .otherHeaderBlock, .leftOut: 3
    default: 1
    }
  }

  private static func block(_ state: ClientState) -> [UInt8] {
    switch state {
    case .answered, .halfClosedAnswered: trailers
    case .headerBlock, .otherHeaderBlock: Frames.literal("x-more", "1")
    default: headers + trailers
    }
  }

  /// What the server has sent before.
  private static func before(_ state: ClientState) -> [UInt8] {
    switch state {
    case .answered, .halfClosedAnswered: Frames.frame(1, 4, 1, headers)
    case .closed, .closedEarly: Frames.frame(1, 5, 1, headers + trailers)
    case .closedByServer: Frames.frame(3, 0, 1, [0, 0, 0, 8])
    case .headerBlock, .otherHeaderBlock: Frames.frame(1, 0, 1, headers)
    case .draining, .leftOut: Frames.frame(7, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0])
    default: []
    }
  }

  private func settle() async throws {
    guard await FrameProbe.exchange(peer), await FrameProbe.exchange(peer) else { throw ChannelError.eof }
  }

  /// What the calls have heard.
  var effects: [[Int]] {
    recorders.map { [$0.headers == nil ? 0 : 1, $0.messages.count, $0.closedCount] }
  }
}
