@testable import Transport

/// Frames that are wrong in themselves, each on a call that is open, and what must come of them (RFC 9113).
struct MalformedFrame: Sendable {
  let name: String
  let bytes: [UInt8]
  let outcome: FrameOutcome

  private init(_ name: String, _ bytes: [UInt8], _ outcome: FrameOutcome) {
    self.name = name
    self.bytes = bytes
    self.outcome = outcome
  }

  private static func setting(_ id: UInt8, _ value: [UInt8]) -> [UInt8] {
    Frames.frame(4, 0, 0, [0, id] + value)
  }

  /// 70,350 bytes of messages; nobody gives back what they cost.
  private static var heldMessages: [UInt8] {
    (0..<70).flatMap { _ in [0, 0, 0, 3, 0xe8] + [UInt8](repeating: 0, count: 1000) }
  }

  /// To either end, on stream 1.
  static let both: [MalformedFrame] = [
    .init("PRIORITY of 4 bytes", Frames.frame(2, 0, 1, [0, 0, 0, 0]), .connection(6)),
    .init("PRIORITY that depends on itself", Frames.frame(2, 0, 1, [0, 0, 0, 1, 0]), .ignored),
    .init("RST_STREAM of 3 bytes", Frames.frame(3, 0, 1, [0, 0, 8]), .connection(6)),
    .init("RST_STREAM of an unknown code", Frames.frame(3, 0, 1, [0, 0, 0x12, 0x67]), .accepted),
    .init("SETTINGS of 5 bytes", Frames.frame(4, 0, 0, [0, 4, 0, 0, 0]), .connection(6)),
    .init("SETTINGS ack with a payload", Frames.frame(4, 1, 0, [0, 4, 0, 0, 0, 0]), .connection(6)),
    .init("SETTINGS ack that nobody waits for", Frames.frame(4, 1, 0, []), .connection(1)),
    .init("SETTINGS with an unknown id", setting(0x77, [0, 0, 0, 1]), .accepted),
    .init("SETTINGS_INITIAL_WINDOW_SIZE over 2^31 - 1", setting(4, [0x80, 0, 0, 0]), .connection(3)),
    .init("SETTINGS_MAX_FRAME_SIZE below 16,384", setting(5, [0, 0, 0x3f, 0xff]), .connection(1)),
    .init("SETTINGS_MAX_FRAME_SIZE over 2^24 - 1", setting(5, [1, 0, 0, 0]), .connection(1)),
    .init("SETTINGS_HEADER_TABLE_SIZE of 4 GiB", setting(1, [0xff, 0xff, 0xff, 0xff]), .accepted),
    .init("PING of 7 bytes", Frames.frame(6, 0, 0, [1, 2, 3, 4, 5, 6, 7]), .connection(6)),
    .init("PING of 9 bytes", Frames.frame(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8, 9]), .connection(6)),
    .init("GOAWAY of 7 bytes", Frames.frame(7, 0, 0, [0, 0, 0, 0, 0, 0, 0]), .connection(6)),
    .init("WINDOW_UPDATE of 3 bytes", Frames.frame(8, 0, 1, [0, 0, 1]), .connection(6)),
    .init("WINDOW_UPDATE of 0 on a stream", Frames.frame(8, 0, 1, [0, 0, 0, 0]), .connection(1)),
    .init("WINDOW_UPDATE of 0 on the connection", Frames.frame(8, 0, 0, [0, 0, 0, 0]), .connection(1)),
    .init("window of a stream over 2^31 - 1", Frames.frame(8, 0, 1, [0x7f, 0xff, 0xff, 0xff]), .stream(3)),
    .init(
      "window of the connection over 2^31 - 1", Frames.frame(8, 0, 0, [0x7f, 0xff, 0xff, 0xff]),
      .connection(3)),
    .init("DATA with more padding than bytes", Frames.frame(0, 8, 1, [9, 0, 0, 0, 0]), .connection(1)),
    .init("DATA with padding and no length of it", Frames.frame(0, 8, 1, []), .connection(1)),
    .init("DATA of padding alone", Frames.frame(0, 8, 1, [3, 0, 0, 0]), .ignored),
    .init("DATA with padding", Frames.frame(0, 8, 1, [2, 0, 0, 0, 0, 0, 0, 0]), .accepted),
    .init("DATA with unknown flags", Frames.frame(0, 0xf6, 1, [0, 0, 0, 0, 0]), .accepted),
    .init(
      "DATA with the reserved bit of its stream id",
      [0, 0, 5, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0], .accepted),
    .init("a frame over the announced size", [0x04, 0, 1, 0, 0, 0, 0, 0, 1], .connection(6)),
    .init(
      "DATA over the stream's window", Frames.frame(0, 0, 1, heldMessages),
      .stream(3)),
    .init("HPACK: an index that does not exist", Frames.frame(1, 5, 1, [0xff, 0x7f]), .connection(9)),
    .init(
      "HPACK: a table larger than allowed", Frames.frame(1, 5, 1, [0x3f, 0xff, 0xff, 0x7f]), .connection(9)),
    .init(
      "HPACK: a string longer than its block", Frames.frame(1, 5, 1, [0, 0x7f, 0x01, 0x61]), .connection(9)),
    .init("HEADERS with more padding than bytes", Frames.frame(1, 0x0d, 1, [200, 0]), .connection(1)),
    .init("HEADERS with priority and too short for it", Frames.frame(1, 0x25, 1, [0, 0]), .connection(6)),
    .init("an endless ALTSVC", Frames.frame(10, 0, 1, [UInt8](repeating: 0x61, count: 5_000)), .ignored),
  ]

  /// To a server. A new request on stream 3.
  static let toServer: [MalformedFrame] = [
    .init("SETTINGS_ENABLE_PUSH of 2", setting(2, [0, 0, 0, 2]), .connection(1)),
    .init("HEADERS that depend on themselves", request([0, 0, 0, 3, 15], flags: 0x25), .connection(1)),
    .init("HEADERS with padding", request([2], flags: 0x0d, padding: [0, 0]), .accepted),
    .init("a request without :path", Frames.frame(1, 5, 3, Frames.literal(":method", "POST")), .stream(1)),
    .init("an empty header block", Frames.frame(1, 5, 3, []), .stream(1)),
    .init("the highest stream id", Frames.frame(1, 5, 0x7fff_ffff, Frames.request("/t.T/Hold")), .accepted),
  ]

  /// To a client that has had response headers; trailers follow.
  static let toClient: [MalformedFrame] = [
    .init("SETTINGS_ENABLE_PUSH of 1 from a server", setting(2, [0, 0, 0, 1]), .connection(1)),
    .init("trailers with :status", Frames.frame(1, 5, 1, Frames.literal(":status", "200")), .stream(1)),
    .init("trailers with an upper-case name", Frames.frame(1, 5, 1, Frames.literal("X-A", "1")), .stream(1)),
    .init(
      "trailers with `connection`", Frames.frame(1, 5, 1, Frames.literal("connection", "close")), .stream(1)),
    .init("empty trailers", Frames.frame(1, 5, 1, []), .accepted),
    .init(
      "an interim response after the final one", Frames.frame(1, 4, 1, Frames.literal(":status", "103")),
      .stream(1)),
  ]

  private static func request(_ before: [UInt8], flags: UInt8, padding: [UInt8] = []) -> [UInt8] {
    Frames.frame(1, flags, 3, before + Frames.request("/t.T/Hold") + padding)
  }

  /// The list for the page.
  static var markdown: String {
    let rows = [("either end", both), ("a server", toServer), ("a client", toClient)].flatMap { end, frames in
      frames.map { "| \($0.name) | \(end) | \($0.outcome) |\n" }
    }
    return "| frame | to | comes of it |\n|---|---|---|\n" + rows.joined()
  }

  /// The stream that the outcome concerns.
  var stream: UInt32 { MalformedFrame.toServer.contains { $0.name == name } ? 3 : 1 }
}
