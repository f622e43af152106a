import NIOCore
import NIOPosix
import SkeinCore
import Synchronization

@testable import Transport

/// The other end of a connection, frame by frame, over real TLS: sends any bytes, keeps every frame.
final class FramePeer: Sendable {
  struct Frame: Sendable {
    var type: UInt8
    var flags: UInt8
    var stream: UInt32
    var payload: [UInt8]

    /// The last four bytes of RST_STREAM; bytes 4 to 7 of GOAWAY.
    var errorCode: UInt32 {
      let bytes = type == 7 ? payload.dropFirst(4).prefix(4) : payload.prefix(4)
      return bytes.reduce(0) { $0 << 8 | UInt32($1) }
    }
  }

  struct Heard: Sendable {
    var frames: [Frame] = []
    var isUp = false
    var isClosed = false
  }

  private struct Waiter {
    let id: Int
    let condition: @Sendable (Heard) -> Bool
    let continuation: CheckedContinuation<Bool, Never>
  }
  private struct State {
    var heard = Heard()
    var nextWaiter = 0
    var nextPing: UInt32 = 0
    var waiters: [Waiter] = []
  }

  /// A loop of their own: these tests keep it busy, and others measure time.
  static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

  private let state = Mutex(State())
  private let channel = Mutex<(any Channel, FramePeerHandler)?>(nil)

  /// A client of our server at `port`.
  static func connect(_ port: Int) async throws -> FramePeer {
    let peer = FramePeer()
    let context = try TLSContext.client(TestCertificates.shared.client())
    _ = try await ClientBootstrap(group: FramePeer.group)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try peer.attach(to: channel, context, serverName: "localhost")
        }
      }
      .connect(host: "127.0.0.1", port: port).get()
    guard await peer.hears({ $0.isUp }) else { throw ChannelError.connectTimeout(.seconds(5)) }
    return peer
  }

  fileprivate func attach(to channel: any Channel, _ context: TLSContext, serverName: String?) throws {
    let handler = FramePeerHandler(context: context, serverName: serverName, peer: self)
    self.channel.withLock { $0 = (channel, handler) }
    try channel.pipeline.syncOperations.addHandler(handler)
  }

  func send(_ bytes: [UInt8]) { onLoop { $1.send(bytes) } }

  func close() { onLoop { channel, _ in channel.close(promise: nil) } }

  /// Half-closes the socket behind what was sent.
  func endOutput() { onLoop { $1.endOutput() } }

  private func onLoop(_ body: @escaping @Sendable (any Channel, FramePeerHandler) -> Void) {
    guard let (channel, handler) = channel.withLock({ $0 }) else { return }
    channel.eventLoop.execute { body(channel, handler) }
  }

  /// The payload of a PING that this peer has not sent before.
  func freshPing() -> [UInt8] {
    let number = state.withLock { state in
      state.nextPing += 1
      return state.nextPing
    }
    return Array("ping".utf8) + withUnsafeBytes(of: number.bigEndian) { Array($0) }
  }

  var heard: Heard { state.withLock { $0.heard } }

  /// Whether the condition comes true in time.
  func hears(
    within limit: TimeAmount = .seconds(5), _ condition: @escaping @Sendable (Heard) -> Bool
  ) async -> Bool {
    await withCheckedContinuation { continuation in
      let id = state.withLock { state -> Int? in
        if condition(state.heard) { return nil }
        state.nextWaiter += 1
        state.waiters.append(Waiter(id: state.nextWaiter, condition: condition, continuation: continuation))
        return state.nextWaiter
      }
      guard let id else { return continuation.resume(returning: true) }
      FramePeer.group.next().scheduleTask(in: limit) { self.giveUp(id) }
    }
  }

  private func giveUp(_ id: Int) {
    let waiter = state.withLock { state -> Waiter? in
      guard let index = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
      return state.waiters.remove(at: index)
    }
    waiter?.continuation.resume(returning: false)
  }

  fileprivate func change(_ body: (inout Heard) -> Void) {
    let ready = state.withLock { state -> [Waiter] in
      body(&state.heard)
      let heard = state.heard
      let ready = state.waiters.filter { $0.condition(heard) }
      state.waiters.removeAll { waiter in ready.contains { $0.id == waiter.id } }
      return ready
    }
    ready.forEach { $0.continuation.resume(returning: true) }
  }
}

/// Accepts connections of our client, each as a `FramePeer`.
final class FrameListener: Sendable {
  let port: Int
  private let channel: any Channel
  private let peers: AsyncStream<FramePeer>

  private init(_ channel: any Channel, _ peers: AsyncStream<FramePeer>) {
    self.channel = channel
    self.peers = peers
    port = channel.localAddress?.port ?? 0
  }

  static func start() async throws -> FrameListener {
    let context = try TLSContext.server(TestCertificates.shared.server())
    let (peers, sink) = AsyncStream<FramePeer>.makeStream()
    let channel = try await ServerBootstrap(group: FramePeer.group)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let peer = FramePeer()
          try peer.attach(to: channel, context, serverName: nil)
          sink.yield(peer)
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    return FrameListener(channel, peers)
  }

  /// The next connection, its handshake done.
  func accept() async throws -> FramePeer {
    for await peer in peers {
      guard await peer.hears({ $0.isUp }) else { throw ChannelError.connectTimeout(.seconds(5)) }
      return peer
    }
    throw ChannelError.ioOnClosedChannel
  }

  func close() async { try? await channel.close().get() }
}

/// `@unchecked Sendable`: on its channel's loop only.
private final class FramePeerHandler: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let tls: TLSStream
  private let scratch = LoopScratch.current()
  private let peer: FramePeer
  private let isServer: Bool
  private var isUp = false
  private var ends = false
  private var waiting: [UInt8] = []
  private var input: [UInt8] = []
  private var prefaceSeen = false
  private var context: ChannelHandlerContext?

  init(context: TLSContext, serverName: String?, peer: FramePeer) {
    // A test has memory for one SSL.
    tls = TLSStream(context: context, serverName: serverName, scratch: .current())!
    self.peer = peer
    isServer = serverName == nil
  }

  func channelActive(context: ChannelHandlerContext) {
    self.context = context
    advance()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    unwrapInboundIn(data).withUnsafeReadableBytes { bytes in
      tls.withInput(bytes) {
        advance()
        while isUp, case .bytes(let count) = tls.read() { input += scratch.plaintext[..<count] }
      }
    }
    parse()
    flush()
  }

  func channelInactive(context: ChannelHandlerContext) {
    self.context = nil
    peer.change { $0.isClosed = true }
  }

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
      peer.change { $0.isUp = true }
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

  private func parse() {
    if isServer, !prefaceSeen {
      guard input.count >= 24 else { return }
      input.removeFirst(24)
      prefaceSeen = true
    }
    var frames: [FramePeer.Frame] = []
    var start = 0
    while input.count - start >= 9 {
      let length = Int(input[start]) << 16 | Int(input[start + 1]) << 8 | Int(input[start + 2])
      guard input.count - start >= 9 + length else { break }
      let stream = input[start + 5..<start + 9].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      frames.append(
        FramePeer.Frame(
          type: input[start + 3], flags: input[start + 4], stream: stream & 0x7fff_ffff,
          payload: Array(input[start + 9..<start + 9 + length])))
      start += 9 + length
    }
    input.removeFirst(start)
    if !frames.isEmpty { peer.change { $0.frames += frames } }
  }
}
