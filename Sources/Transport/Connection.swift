import CNGHTTP2
import NIOCore
import SkeinCore

/// What server and client do differently on a connection. Called on its loop.
protocol ConnectionRole: AnyObject {
  var isServer: Bool { get }
  /// What the connection begins with, of its limits.
  func openingLimits(_ limits: TransportLimits) -> TransportLimits
  /// TLS is up, h2 was agreed, SETTINGS are queued.
  func opened(_ connection: Connection)
  /// A header block is complete in `connection.head`.
  /// - Parameter isFirst: it opens the request or the response; otherwise it is interim or trailers.
  func headers(_ connection: Connection, stream: Int32, isFirst: Bool, endStream: Bool)
  /// The peer ended its side with DATA, not with a header block.
  func dataEnded(_ connection: Connection, _ call: Call)
  /// The first SETTINGS of the peer have come.
  func settingsReceived(_ connection: Connection)
  func goAwayReceived(_ connection: Connection, lastStream: Int32)
  /// The status of a call whose stream was closed by a reset.
  func status(ofReset error: UInt32) -> GRPCStatus
  /// A call has been opened or has ended.
  func callCountChanged(_ connection: Connection)
  /// The number of calls has fallen to zero.
  func becameIdle(_ connection: Connection)
  /// TLS failed; `connection` is about to close.
  func failed(_ connection: Connection, _ failure: TLSFailure)
  /// No new call can be opened from now on; running ones are about to end. May be called twice.
  func closing(_ connection: Connection)
  /// The socket is gone. Called once, last.
  func ended(_ connection: Connection)
}

/// One socket: ciphertext ⇄ TLS ⇄ HTTP/2 frames ⇄ calls, on server and client alike.
///
/// Confined to its channel's event loop. Input is in this file, output in `Connection+Output`, the
/// callbacks of nghttp2 in `Connection+Frames`, clocks in `Connection+Timers`, the end in `Connection+End`.
///
/// `@unchecked Sendable`: every member but the `let`s is touched on `eventLoop` only.
final class Connection: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// What stands between the socket and HTTP/2.
  enum Security {
    case tls(TLSContext, serverName: String?)
    /// No socket and nothing between; the peer is who the caller says.
    case memory(PeerIdentity)
  }

  /// handshaking → open → closing → closed; closing and closed from anywhere.
  enum Phase { case handshaking, open, closing, closed }

  let role: any ConnectionRole
  let limits: TransportLimits
  let budget: MemoryBudget?
  let log: TransportLog?
  let eventLoop: any EventLoop
  let tls: TLSStream
  let scratch: LoopScratch
  let remoteAddress: String

  var context: ChannelHandlerContext?
  var session: HTTP2Session?
  var phase = Phase.handshaking
  var peer: PeerIdentity
  /// Why the connection closes, in words, for the calls that it takes with it.
  var closeReason = "connection lost"

  /// What GOAWAY will say.
  var closeError = NGHTTP2_NO_ERROR

  // Calls
  var calls: [Int32: Call] = [:]
  let head = HeadBuilder()
  var touched: [Call] = []
  var relievedCalls: [Call] = []
  var unreleased = 0
  /// Of `unreleased`: at more the connection's own window is not returned.
  var unreleasedLimit: Int
  var owedCredit = 0
  var isDraining = false
  private var hasAnnounced = false
  /// Client: nghttp2 keeps, or has kept, the headers of calls for which the server allowed no stream.
  var hasQueuedCalls = false
  /// nghttp2 has ended the session because the peer broke a rule; `closeReason` says which.
  var isRefused = false

  private(set) var meter: FrameMeter
  var ownResets: TokenBucket

  // Output
  var isPumping = false
  var isReading = false
  var pumpIsScheduled = false
  var needsPump = false

  // Input held back while the memory budget is spent
  var stall: Stall?

  // Clocks
  var lastRead: NIODeadline
  var lastCall: NIODeadline
  var pingSent: NIODeadline?
  var livenessTask: Scheduled<Void>?
  var deadlineTask: Scheduled<Void>?
  var deadlineAt: NIODeadline = .distantFuture
  var closeTask: Scheduled<Void>?
  /// A frame or header block that was begun and is not complete: how many were before it, and since when.
  var stuck: (units: UInt64, since: NIODeadline)?
  /// Since when the socket takes nothing more.
  var unwritable: NIODeadline?
  var handshakeTask: Scheduled<Void>?

  /// nil when libssl has no memory.
  init?(
    role: any ConnectionRole, security: Security, limits: TransportLimits,
    budget: MemoryBudget?, log: TransportLog?, eventLoop: any EventLoop, remoteAddress: String
  ) {
    self.role = role
    self.limits = limits
    unreleasedLimit = limits.maxUnreleasedBytes
    self.budget = budget
    self.log = log
    self.eventLoop = eventLoop
    self.remoteAddress = remoteAddress
    assert(eventLoop.inEventLoop)  // the scratch is this thread's
    // Ends in memory may be on a loop without a thread of its own: they share nothing.
    if case .memory = security { scratch = LoopScratch() } else { scratch = .current() }
    // The loop's own clock, which is a test's where the loop is.
    let now = eventLoop.now
    lastRead = now
    lastCall = now
    meter = FrameMeter(isServer: role.isServer, limits: limits, now: now)
    ownResets = TokenBucket(burst: limits.junkFrameBurst, perSecond: limits.junkFramesPerSecond, now: now)
    peer = PeerIdentity(remoteAddress: remoteAddress)
    switch security {
    case .memory(let peer): tls = TLSStream(memory: peer, scratch: scratch)
    case .tls(let context, let serverName):
      guard let tls = TLSStream(context: context, serverName: serverName, scratch: scratch) else {
        return nil
      }
      self.tls = tls
    }
  }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    if context.channel.isActive { start() }
  }

  /// Also the end of a channel that never became active.
  func handlerRemoved(context: ChannelHandlerContext) {
    finish()
    self.context = nil
  }

  func channelActive(context: ChannelHandlerContext) {
    start()
    context.fireChannelActive()
  }

  private var started = false

  private func start() {
    guard !started else { return }
    started = true
    armHandshake()
    _ = shakeHands()
    pump()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    lastRead = eventLoop.now
    isReading = true
    let buffer = unwrapInboundIn(data)
    if stall != nil {
      stall?.ciphertext.append(buffer)
      return
    }
    take(buffer)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    isReading = false
    tellIdle()
    pump()
  }

  func channelInactive(context: ChannelHandlerContext) {
    finish()
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    closeReason = "connection lost: \(error)"
    context.close(promise: nil)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable {
      unwritable = nil
      pump()
    } else if unwritable == nil {
      unwritable = eventLoop.now
    }
  }

  // MARK: Input

  func take(_ buffer: ByteBuffer) {
    buffer.withUnsafeReadableBytes { bytes in
      tls.withInput(bytes) {
        consumeInput()
        if stall != nil, tls.unreadInput > 0 {
          var rest = buffer
          rest.moveReaderIndex(forwardBy: bytes.count - tls.unreadInput)
          stall?.ciphertext.append(rest)
        }
      }
    }
  }

  private func consumeInput() {
    if phase == .handshaking, !shakeHands() { return }
    while phase == .open, stall == nil {
      switch tls.read() {
      case .bytes(let count):
        receive(UnsafeRawBufferPointer(rebasing: scratch.plaintext[..<count]))
      case .wantsMore: return
      case .ended:
        if calls.isEmpty { closeReason = "closed by the peer" }
        shutDown(nil)
      case .failed(let failure):
        closeReason = failure.text
        role.failed(self, failure)
        shutDown(nil)
      }
    }
  }

  /// Plaintext for nghttp2. What is left when it pauses waits in `stall`.
  func receive(_ bytes: UnsafeRawBufferPointer) {
    guard let session else { return }
    if let abuse = meter.feed(bytes, now: lastRead) { return fail(.abuse, abuse) }
    parse(bytes, session)
  }

  /// Plaintext that the meter has seen, also what was left when nghttp2 paused.
  func parse(_ bytes: UnsafeRawBufferPointer, _ session: HTTP2Session) {
    let n = session.receive(bytes)
    if n < 0 {
      fail(.protocolError, "HTTP/2: \(String(cString: nghttp2_strerror(Int32(truncatingIfNeeded: n))))")
    } else if n < bytes.count, stall != nil {
      stall?.plaintext = Array(bytes[n...])
    } else if !session.wantsRead, !session.wantsWrite {
      shutDown(isRefused ? nil : "the peer ended the session")
    }
  }

  /// True once TLS is up.
  private func shakeHands() -> Bool {
    switch tls.handshake() {
    case .wantsMore: return false
    case .failed(let failure):
      closeReason = failure.text
      role.failed(self, failure)
      shutDown(nil)
      return false
    case .done:
      handshakeTask?.cancel()
      guard tls.negotiatedH2 else {
        let failure = TLSFailure(kind: .alpn, text: "the peer does not speak HTTP/2 (ALPN h2 was not agreed)")
        closeReason = failure.text
        role.failed(self, failure)
        shutDown(nil)
        return false
      }
      return open()
    }
  }

  private func open() -> Bool {
    peer = tls.peerIdentity(remoteAddress: remoteAddress)
    guard let session = HTTP2Session(isServer: role.isServer, limits: limits, connection: self) else {
      shutDown("out of memory")
      return false
    }
    self.session = session
    phase = .open
    session.submitSettings(role.openingLimits(limits), isServer: role.isServer)
    armLiveness()
    role.opened(self)
    return true
  }

  // MARK: Calls

  /// The handler of this call will hear `readIdle` at the end of the read.
  func touch(_ call: Call) {
    guard !call.isTouched else { return }
    call.isTouched = true
    touched.append(call)
  }

  func tellIdle() {
    guard !touched.isEmpty else { return }
    let calls = touched
    touched.removeAll(keepingCapacity: true)
    for call in calls {
      call.isTouched = false
      call.handler?.readIdle()
    }
  }

  /// What a response begins with. The first one tells the client what it may compress with.
  func responseHead() -> HeaderBlock {
    guard !hasAnnounced else { return .ok }
    hasAnnounced = true
    return .announcing
  }

  func callEnded(_ call: Call) {
    if call.stream > 0 {
      session?.detach(call.stream)
      calls[call.stream] = nil
    }
    unreleased -= call.unreleased
    repayCredit()
    lastCall = eventLoop.now
    role.callCountChanged(self)
    if calls.isEmpty { role.becameIdle(self) }
  }
}
