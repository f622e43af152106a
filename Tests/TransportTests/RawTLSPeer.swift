import NIOCore
import NIOPosix
import SkeinCore
import Synchronization

@testable import Transport

/// TLS done properly, and any bytes inside it: a client by `connect`, a server by `FakeServer`.
final class RawTLSPeer: Sendable {
  private let channel: any Channel
  private let handler: RawTLSHandler

  private init(_ channel: any Channel, _ handler: RawTLSHandler) {
    self.channel = channel
    self.handler = handler
  }

  static func connect(_ port: Int) async throws -> RawTLSPeer {
    let context = try TLSContext.client(TestCertificates.shared.client())
    let box = Mutex<RawTLSHandler?>(nil)
    let channel = try await ClientBootstrap(group: TestServer.group)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let handler = RawTLSHandler(context: context, serverName: "localhost", answer: nil)
          box.withLock { $0 = handler }
          try channel.pipeline.syncOperations.addHandler(handler)
        }
      }
      .connect(host: "127.0.0.1", port: port).get()
    return RawTLSPeer(channel, box.withLock { $0! })
  }

  /// Sends once the handshake is done.
  func send(_ bytes: [UInt8]) {
    channel.eventLoop.execute { [handler] in handler.send(bytes) }
  }

  /// Half-closes the socket after what was sent.
  func endOutput() {
    channel.eventLoop.execute { [handler] in handler.endOutput() }
  }

  func close() { channel.close(promise: nil) }

  /// Whether the server closes the connection.
  func closesWithin(seconds: Int64) async -> Bool {
    let timer = channel.eventLoop.scheduleTask(in: .seconds(seconds)) { [channel] in
      channel.close(promise: nil)
    }
    try? await channel.closeFuture.get()
    timer.cancel()
    return !handler.timedOut(after: seconds)
  }

  /// The header fields of the first response, as `name=value` words.
  ///
  /// - Parameter word: what must be among them before this returns; resets appear as `reset=CODE`.
  func response(with word: String = "status") async -> String {
    _ = await eventually("a response comes") { self.handler.fields.contains(word) }
    return handler.fields
  }
}

/// Speaks TLS through `TLSStream` and keeps what comes.
///
/// `@unchecked Sendable`: on its channel's loop but for the locked members.
final class RawTLSHandler: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let tls: TLSStream
  private let scratch = LoopScratch.current()
  private var isUp = false
  private var waiting: [UInt8] = []
  private var ends = false
  private var context: ChannelHandlerContext?
  /// What a fake server says once a request has come; before that, empty SETTINGS.
  private var answer: [UInt8]?
  private let begun = NIODeadline.now()
  private let decoder = Mutex(HeaderText())

  init(context: TLSContext, serverName: String?, answer: [UInt8]?) {
    tls = TLSStream(context: context, serverName: serverName, scratch: .current())!
    self.answer = answer
  }

  var fields: String { decoder.withLock { $0.text } }
  func timedOut(after seconds: Int64) -> Bool { NIODeadline.now() - begun >= .seconds(seconds) }

  func channelActive(context: ChannelHandlerContext) {
    self.context = context
    advance()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    unwrapInboundIn(data).withUnsafeReadableBytes { bytes in
      tls.withInput(bytes) {
        advance()
        while isUp, case .bytes(let count) = tls.read() {
          let text = decoder.withLock { decoder in
            decoder.feed(Array(scratch.plaintext[..<count]))
            return decoder.text
          }
          if let answer, text.contains(":path") {
            waiting += answer
            self.answer = nil
          }
        }
      }
    }
    flush()
  }

  func channelInactive(context: ChannelHandlerContext) { self.context = nil }
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  func send(_ bytes: [UInt8]) {
    waiting += bytes
    flush()
  }

  func endOutput() {
    ends = true
    flush()
  }

  private func advance() {
    guard !isUp else { return }
    if tls.handshake() == .done {
      isUp = true
      if answer != nil { waiting += Frames.frame(4, 0, 0, []) }
    }
    flush()
  }

  private func flush() {
    if isUp, !waiting.isEmpty {
      waiting.withUnsafeBytes { tls.write($0) }
      tls.flush()
      waiting = []
    }
    guard let context else { return }
    tls.takeOverflow { bytes in
      context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }
    if isUp, ends { context.close(mode: .output, promise: nil) }
  }
}

/// Header fields of HEADERS frames, inflated by nghttp2.
struct HeaderText: ~Copyable {
  private(set) var text = ""
  private var bytes: [UInt8] = []
  private var started = false
  private let inflater = HeaderInflater()

  mutating func feed(_ more: [UInt8]) {
    bytes += more
    if !started, bytes.count >= 24 {
      started = true
      if bytes.starts(with: "PRI * ".utf8) { bytes.removeFirst(24) }
    }
    guard started else { return }
    while bytes.count >= 9 {
      let length = Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2])
      guard bytes.count >= 9 + length else { return }
      if bytes[3] == 1 { text += inflater.inflate(Array(bytes[9..<9 + length])) }
      if bytes[3] == 3, length == 4 { text += "reset=\(bytes[12])\n" }
      bytes.removeFirst(9 + length)
    }
  }
}

/// A TLS server that sends fixed bytes to whoever connects.
final class FakeServer: Sendable {
  private let channel: any Channel
  let port: Int

  private init(_ channel: any Channel) {
    self.channel = channel
    port = channel.localAddress!.port!
  }

  static func start(answer: [UInt8]) async throws -> FakeServer {
    let context = try TLSContext.server(TestCertificates.shared.server())
    let channel = try await ServerBootstrap(group: TestServer.group)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(
            RawTLSHandler(context: context, serverName: nil, answer: answer))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    return FakeServer(channel)
  }

  func close() async { try? await channel.close().get() }
}
