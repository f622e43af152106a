import NIOCore

/// One end of two channels that are joined in memory, on one event loop: what one writes the other reads, in
/// order, a tick later. Any loop will do; on one whose time a test owns, everything happens in a fixed order.
///
/// It behaves as a socket does where `Connection` looks: it stops being writable while the other end does not
/// read, `autoRead` holds input back, an output that is closed closes the other end once it has read
/// everything.
///
/// `@unchecked Sendable`: every member but the `let`s is touched on `eventLoop` only.
final class MemoryChannel: Channel, ChannelCore, @unchecked Sendable {
  let eventLoop: any EventLoop
  let allocator = ByteBufferAllocator()
  let localAddress: SocketAddress? = nil
  let remoteAddress: SocketAddress? = nil
  let parent: (any Channel)? = nil
  var _channelCore: any ChannelCore { self }
  var closeFuture: EventLoopFuture<Void> { closePromise.futureResult }
  var pipeline: ChannelPipeline { line ?? ChannelPipeline(channel: self) }

  private let closePromise: EventLoopPromise<Void>
  private let highWater: Int
  private let lowWater: Int
  /// Set in `init`; a pipeline needs its channel.
  private var line: ChannelPipeline?
  private var other: MemoryChannel?
  private var isOpen = true
  private(set) var isActive = false
  private(set) var isWritable = true

  /// Written and not flushed.
  private var unflushed: [(ByteBuffer, EventLoopPromise<Void>?)] = []
  /// From the other end, not read.
  private var inbox: [ByteBuffer] = []
  private var inboxBytes = 0
  private var inboxHasEnded = false
  private var outputIsClosed = false
  private var autoRead = true
  private var readIsWanted = false
  private var deliveryIsScheduled = false

  /// - Parameters:
  ///   - highWater: bytes that the other end has not read at which this one is no longer writable.
  ///   - lowWater: below which it is again.
  private init(_ loop: any EventLoop, highWater: Int, lowWater: Int) {
    eventLoop = loop
    self.highWater = highWater
    self.lowWater = lowWater
    closePromise = loop.makePromise(of: Void.self)
    line = ChannelPipeline(channel: self)
  }

  /// Two ends, not active yet.
  static func pair(_ loop: any EventLoop, _ limits: TransportLimits) -> (MemoryChannel, MemoryChannel) {
    let (high, low) = (limits.socketHighWaterBytes, limits.socketLowWaterBytes)
    let a = MemoryChannel(loop, highWater: high, lowWater: low)
    let b = MemoryChannel(loop, highWater: high, lowWater: low)
    a.other = b
    b.other = a
    return (a, b)
  }

  /// Installs the handler and becomes active. Loop only.
  func activate(_ handler: any ChannelHandler) throws {
    try pipeline.syncOperations.addHandler(handler)
    isActive = true
    pipeline.syncOperations.fireChannelRegistered()
    pipeline.syncOperations.fireChannelActive()
  }

  // MARK: Options

  func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> EventLoopFuture<Void> {
    guard option is ChannelOptions.Types.AutoReadOption, let value = value as? Bool else {
      return eventLoop.makeFailedFuture(ChannelError.operationUnsupported)
    }
    autoRead = value
    if value { scheduleDelivery() }
    return eventLoop.makeSucceededVoidFuture()
  }

  func getOption<Option: ChannelOption>(_ option: Option) -> EventLoopFuture<Option.Value> {
    guard option is ChannelOptions.Types.AutoReadOption, let value = autoRead as? Option.Value else {
      return eventLoop.makeFailedFuture(ChannelError.operationUnsupported)
    }
    return eventLoop.makeSucceededFuture(value)
  }

  // MARK: Output

  func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard isOpen, !outputIsClosed else {
      promise?.fail(ChannelError.ioOnClosedChannel)
      return
    }
    unflushed.append((unwrapData(data, as: ByteBuffer.self), promise))
  }

  func flush0() {
    let buffers = unflushed
    unflushed = []
    for (buffer, promise) in buffers {
      other?.accept(buffer)
      promise?.succeed()
    }
    judgeWritability()
  }

  private func judgeWritability() {
    let waiting = other?.inboxBytes ?? 0
    let now = isWritable ? waiting < highWater : waiting <= lowWater
    guard now != isWritable, isOpen else { return }
    isWritable = now
    pipeline.syncOperations.fireChannelWritabilityChanged()
  }

  // MARK: Input

  private func accept(_ buffer: ByteBuffer) {
    guard isOpen else { return }
    inbox.append(buffer)
    inboxBytes += buffer.readableBytes
    scheduleDelivery()
  }

  private func scheduleDelivery() {
    guard !deliveryIsScheduled else { return }
    deliveryIsScheduled = true
    eventLoop.execute {
      self.deliveryIsScheduled = false
      self.deliver()
    }
  }

  private func deliver() {
    guard isOpen, autoRead || readIsWanted else { return }
    readIsWanted = false
    let buffers = inbox
    inbox = []
    inboxBytes = 0
    for buffer in buffers where isOpen { pipeline.syncOperations.fireChannelRead(NIOAny(buffer)) }
    if !buffers.isEmpty, isOpen { pipeline.syncOperations.fireChannelReadComplete() }
    other?.judgeWritability()
    if inboxHasEnded, inbox.isEmpty { close0(error: ChannelError.eof, mode: .all, promise: nil) }
  }

  func read0() {
    readIsWanted = true
    if !inbox.isEmpty { scheduleDelivery() }
  }

  /// The other end writes no more.
  private func end() {
    guard isOpen else { return }
    inboxHasEnded = true
    scheduleDelivery()
  }

  // MARK: The end

  func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard isOpen else {
      promise?.fail(ChannelError.alreadyClosed)
      return
    }
    guard mode == .all else {
      if mode == .output { outputIsClosed = true }
      other?.end()
      promise?.succeed()
      return
    }
    isOpen = false
    isActive = false
    for (_, written) in unflushed { written?.fail(ChannelError.ioOnClosedChannel) }
    unflushed = []
    inbox = []
    inboxBytes = 0
    let other = other
    self.other = nil
    // Nobody will read what it still writes.
    other?.autoRead = true
    other?.end()
    promise?.succeed()
    pipeline.syncOperations.fireChannelInactive()
    pipeline.syncOperations.fireChannelUnregistered()
    eventLoop.execute {
      self.removeHandlers(pipeline: self.pipeline)
      self.line = nil
      self.closePromise.succeed()
    }
  }

  // MARK: What nobody asks for

  func localAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
  func remoteAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
  func register0(promise: EventLoopPromise<Void>?) { promise?.succeed() }
  func registerAlreadyConfigured0(promise: EventLoopPromise<Void>?) { promise?.succeed() }
  func bind0(to address: SocketAddress, promise: EventLoopPromise<Void>?) {
    promise?.fail(ChannelError.operationUnsupported)
  }
  func connect0(to address: SocketAddress, promise: EventLoopPromise<Void>?) {
    promise?.fail(ChannelError.operationUnsupported)
  }
  func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) {
    promise?.fail(ChannelError.operationUnsupported)
  }
  func channelRead0(_ data: NIOAny) {}
  func errorCaught0(error: any Error) { close0(error: error, mode: .all, promise: nil) }
}
