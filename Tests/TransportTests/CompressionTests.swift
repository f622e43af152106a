import CZlib
import NIOCore
import SkeinCore
import Testing

@testable import Transport

/// gzip messages both ways (gRPC's compression document): what is accepted, what is refused, what it may cost.
@Suite struct CompressionTests {
  // MARK: The deframer alone

  private func deframe(
    _ bytes: [UInt8], limit: Int = 1 << 20, budget: MemoryBudget? = nil, cut: Int = .max,
    acceptsGzip: Bool = true
  ) -> (messages: [SharedBytes], refusal: MessageDeframer.Refusal?, deframer: MessageDeframer) {
    var deframer = MessageDeframer(limit: limit)
    deframer.acceptsGzip = acceptsGzip
    var messages: [SharedBytes] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = Array(rest.prefix(cut))
      rest = rest.dropFirst(part.count)
      var refusal: MessageDeframer.Refusal?
      part.withUnsafeBytes { all in
        var input = all
        while !input.isEmpty, refusal == nil {
          switch deframer.next(&input, budget: budget) {
          case .needMore: return
          case .message(let message): messages.append(message)
          case .refused(let why): refusal = why
          }
        }
      }
      if let refusal { return (messages, refusal, deframer) }
    }
    return (messages, nil, deframer)
  }

  static func gzip(_ bytes: [UInt8]) -> [UInt8] {
    var stream = z_stream()
    precondition(
      deflateInit2_(
        &stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
        Int32(MemoryLayout<z_stream>.size)) == Z_OK)
    defer { deflateEnd(&stream) }
    var input = bytes
    var output = [UInt8](repeating: 0, count: Int(deflateBound(&stream, UInt(bytes.count))))
    let count = input.withUnsafeMutableBufferPointer { from in
      output.withUnsafeMutableBufferPointer { to in
        stream.next_in = from.baseAddress
        stream.avail_in = UInt32(from.count)
        stream.next_out = to.baseAddress
        stream.avail_out = UInt32(to.count)
        precondition(deflate(&stream, Z_FINISH) == Z_STREAM_END)
        return Int(stream.total_out)
      }
    }
    return Array(output.prefix(count))
  }

  static func framed(_ bytes: [UInt8], flag: UInt8 = 1) -> [UInt8] {
    let n = bytes.count
    return [flag, UInt8(n >> 24), UInt8(n >> 16 & 255), UInt8(n >> 8 & 255), UInt8(n & 255)] + bytes
  }

  private static func text(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 / 7 ^ $0 >> 9) }
  }

  @Test func compressedMessagesSurviveEveryCut() {
    let budget = MemoryBudget(limit: 8 << 20)
    for size in [0, 1, 100, 5000, 70_000, 300_000] {
      let plain = Self.text(size)
      let wire = Self.framed(Self.gzip(plain)) + Self.framed([9], flag: 0) + Self.framed(Self.gzip(plain))
      for cut in size > 10_000 ? [.max, 997] : [.max, 997, 13, 1] {
        let (messages, refusal, deframer) = deframe(wire, budget: budget, cut: cut)
        #expect(refusal == nil)
        #expect(messages.map(\.array) == [plain, [9], plain], "\(size) cut \(cut)")
        #expect(!deframer.isInsideMessage)
        #expect(
          messages.allSatisfy { $0.storage.capacity <= max(2 * $0.count, 4096) }, "no memory kept beyond it")
      }
    }
    #expect(budget.reserved == 0)
  }

  @Test func limitIsOnWhatComesOut() {
    let bomb = Self.framed(Self.gzip([UInt8](repeating: 0, count: 4 << 20)))
    #expect(bomb.count < 10_000)
    let budget = MemoryBudget(limit: 64 << 20)
    #expect(
      deframe(bomb, limit: (4 << 20) - 1, budget: budget).refusal == .inflatesTooLarge(limit: (4 << 20) - 1))
    #expect(budget.reserved == 0)
    #expect(deframe(bomb, limit: 4 << 20).messages.first?.count == 4 << 20, "exactly the limit is allowed")
    #expect(deframe(bomb, limit: 1000).refusal == .tooLarge(length: bomb.count - 5, limit: 1000))
  }

  /// The bomb takes memory only as the budget gives it, and goes on when there is more.
  @Test func inflationStopsWhenTheBudgetIsSpent() {
    let plain = [UInt8](repeating: 3, count: 1 << 20)
    let bomb = Self.framed(Self.gzip(plain))
    let budget = MemoryBudget(limit: 400 << 10)
    var (messages, refusal, deframer) = deframe(bomb, limit: 16 << 20, budget: budget)
    guard case .overBudget = refusal else { return #expect(Bool(false), "\(String(describing: refusal))") }
    #expect(messages.isEmpty && budget.reserved <= budget.limit)
    deframer.stop()
    #expect(budget.reserved == 0)

    let shared = MemoryBudget(limit: 4 << 20)
    var other: MemoryBudget.Reservation? = shared.reserve(3_900_000)
    deframer = MessageDeframer(limit: 16 << 20)
    deframer.acceptsGzip = true
    bomb.withUnsafeBytes { all in
      var input = all
      guard case .refused(.overBudget) = deframer.next(&input, budget: shared) else {
        return #expect(Bool(false), "it must wait")
      }
      #expect(other != nil)
      other = nil
      guard case .message(let message) = deframer.next(&input, budget: shared) else {
        return #expect(Bool(false), "it must go on")
      }
      #expect(message.array == plain && input.isEmpty)
    }
  }

  @Test func brokenGzipIsCorrupt() {
    let good = Self.gzip(Self.text(5000))
    var flipped = good
    flipped[good.count / 2] ^= 0x40
    var badSum = good
    badSum[good.count - 6] ^= 1
    let cases: [(String, [UInt8])] = [
      ("nothing", []), ("not gzip", Array("hello, world".utf8)), ("cut short", Array(good.dropLast(9))),
      ("a bit", flipped), ("checksum", badSum), ("bytes behind it", good + [0]), ("two members", good + good),
      ("zlib, not gzip", [0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]),
    ]
    for (name, bytes) in cases {
      for cut in [Int.max, 11] {
        #expect(deframe(Self.framed(bytes) + [0], cut: cut).refusal == .corrupt, "\(name)")
      }
    }
    #expect(deframe(Self.framed(good), acceptsGzip: false).refusal == .compressed)
    var random = SeededGenerator(seed: 0x5EED_0005)
    print("seed 0x5EED0005")
    for _ in 0..<500 {
      var bytes = good
      bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      let result = deframe(
        Self.framed(bytes) + [0], limit: 100_000, cut: Int.random(in: 1...200, using: &random))
      #expect(result.refusal != nil || result.messages.count == 1)
    }
  }

  // MARK: Calls

  private func with(
    limits: TransportLimits = TransportLimits(), budget: MemoryBudget? = nil,
    _ body: (TestServer, GRPCConnection) async throws -> Void
  ) async throws {
    let server = try await TestServer.start(limits: limits, budget: budget)
    let client = try await server.connect()
    try await body(server, client)
    await client.close()
    await server.server.close()
    #expect(server.server.connectionCount == 0)
  }

  @Test func bothDirections() async throws {
    let budget = MemoryBudget(limit: 64 << 20)
    try await with(budget: budget) { server, client in
      let plain = Self.text(271_828)
      let (_, recorder) = client.record("/t.T/Gzip") { call in
        #expect(call.compressWithGzip())
        call.send(
          OutboundMessage(head: Array(plain.prefix(100)), parts: [SharedBytes(Array(plain.dropFirst(100)))]))
        call.send(OutboundMessage(head: plain), plain: true)
        call.send(OutboundMessage(head: [1, 2]))  // does not shrink
        call.sendEnd()
      }
      #expect(await recorder.finished().code == .ok)
      #expect(recorder.messages.map(\.array) == [plain, plain, [1, 2]])
      #expect(recorder.compressed == [true, true, false], "the answer compresses what shrinks")
      #expect(server.calls.compressed == [true, false, false])
    }
    #expect(await eventually("all memory is given back") { budget.reserved == 0 })
  }

  /// Credit is counted on the wire, release in inflated bytes: a long stream must neither stall nor overrun.
  @Test func creditBalancesOnLongStreams() async throws {
    var limits = TransportLimits()
    limits.streamWindowBytes = 65_535
    limits.connectionWindowBytes = 65_535
    var random = SeededGenerator(seed: 7)
    let noise = (0..<20_000).map { _ in UInt8.random(in: 0...255, using: &random) }
    // gzip of noise is longer than the noise: made by hand, because our sender would not send it.
    let longer = OutboundMessage(compressed: SharedBytes(Self.gzip(noise)))
    try await with(limits: limits) { _, client in
      let (_, recorder) = client.record("/t.T/Count") { call in
        call.compressWithGzip()
        for _ in 0..<100 {
          call.send(OutboundMessage(head: [UInt8](repeating: 1, count: 100_000)))
          call.send(longer, plain: true)
        }
        call.sendEnd()
      }
      #expect(await recorder.finished().code == .ok)
      #expect(recorder.messages.map(\.array) == [Array("200 12000000".utf8)])
      // Alone: each is 23 bytes longer on the wire than what is released for it, the window would be lost after
      // 2,850 of them.
      let short = OutboundMessage(compressed: SharedBytes(Self.gzip(Array(noise.prefix(200)))))
      let (_, second) = client.record("/t.T/Count", deadline: .now() + .seconds(20)) { call in
        call.compressWithGzip()
        for _ in 0..<5000 { call.send(short, plain: true) }
        call.sendEnd()
      }
      #expect(await second.finished().code == .ok)
      #expect(second.messages.map(\.array) == [Array("5000 1000000".utf8)])
    }
  }

  @Test func refusals() async throws {
    var limits = TransportLimits()
    limits.maxMessageBytes = 100_000
    let server = try await TestServer.start(limits: limits)
    let start = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Frames.frame(4, 0, 0, [])
    let gzip = Frames.literal("grpc-encoding", "gzip")
    let bomb = Self.framed(Self.gzip([UInt8](repeating: 0, count: 200_000)))
    let good = Self.framed(Self.gzip(Self.text(10)))
    let cases: [(String, [UInt8], [UInt8], [String])] = [
      (
        "snappy", Frames.literal("grpc-encoding", "snappy"), good,
        ["grpc-status=12", "grpc-accept-encoding=identity,gzip"]
      ),
      ("deflate", Frames.literal("grpc-encoding", "deflate"), good, ["grpc-status=12"]),
      ("flag without encoding", [], good, ["grpc-status=13"]),
      ("flag with identity", Frames.literal("grpc-encoding", "identity"), good, ["grpc-status=13"]),
      ("rubbish", gzip, Self.framed([1, 2, 3, 4]), ["grpc-status=13", "gzip"]),
      ("bomb", gzip, bomb, ["grpc-status=8", "100000"]),
      ("flag of 2", gzip, Self.framed([1], flag: 2), ["grpc-status=13"]),
      ("good", gzip, good, ["grpc-accept-encoding=identity,gzip"]),
    ]
    for (name, header, data, expected) in cases {
      let peer = try await RawTLSPeer.connect(server.port)
      peer.send(
        start + Frames.frame(1, 4, 1, Frames.request("/t.T/Echo") + header) + Frames.frame(0, 0, 1, data))
      for word in expected {
        let text = await peer.response(with: word)
        #expect(text.contains(word), "\(name): \(text)")
      }
      peer.close()
    }
    await server.server.close()
  }

  /// A client that does not say that it accepts gzip gets none, whatever the handler asks for.
  @Test func answerIsPlainForAClientThatDoesNotAcceptGzip() async throws {
    let server = try await TestServer.start()
    let start = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Frames.frame(4, 0, 0, [])
    let message = Self.framed([UInt8](repeating: 0, count: 1000), flag: 0)
    for (accepts, isCompressed) in [
      (nil, false), ("identity", false), ("identity,deflate", false), ("identity, gzip", true),
      ("gzip", true),
    ] {
      let peer = try await RawTLSPeer.connect(server.port)
      let header = accepts.map { Frames.literal("grpc-accept-encoding", $0) } ?? []
      peer.send(
        start + Frames.frame(1, 4, 1, Frames.request("/t.T/Gzip") + header) + Frames.frame(0, 1, 1, message))
      let text = await peer.response(with: "grpc-status=0")
      #expect(text.contains("grpc-encoding=gzip") == isCompressed, "\(accepts ?? "none"): \(text)")
      peer.close()
    }
    await server.server.close()
  }
}
