import NIOCore
import NIOPosix
import PluginABI

/// The broker's end of a child's socket: bytes to frames. Whatever a child writes, this reads within its limits or closes.
final class ChildFrameHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let onFrame: (ChildFrame.Header, UnsafeRawBufferPointer) throws(ChildFrame.Malformed) -> Void
  private let onEnd: (String?) -> Void
  private var unread: ByteBuffer?
  private var isOver = false

  /// Both are called on the channel's loop; `onEnd` once, with what was wrong if the child broke the protocol.
  init(
    onFrame: @escaping (ChildFrame.Header, UnsafeRawBufferPointer) throws(ChildFrame.Malformed) -> Void,
    onEnd: @escaping (String?) -> Void
  ) {
    self.onFrame = onFrame
    self.onEnd = onEnd
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isOver else { return }
    var incoming = unwrapInboundIn(data)
    if var kept = unread {
      unread = nil
      kept.writeBuffer(&incoming)
      incoming = kept
    }
    do throws(ChildFrame.Malformed) {
      let used = try incoming.withUnsafeReadableBytes { (bytes) throws(ChildFrame.Malformed) -> Int in
        try Self.parse(bytes, onFrame)
      }
      incoming.moveReaderIndex(forwardBy: used)
      if incoming.readableBytes > 0 {
        incoming.discardReadBytes()
        unread = incoming
      }
    } catch {
      end(error.description)
      context.close(promise: nil)
    }
  }

  /// Gives every whole frame of `bytes` to `onFrame`.
  /// - Returns: how many bytes they were.
  static func parse(
    _ bytes: UnsafeRawBufferPointer,
    _ onFrame: (ChildFrame.Header, UnsafeRawBufferPointer) throws(ChildFrame.Malformed) -> Void
  ) throws(ChildFrame.Malformed) -> Int {
    var at = 0
    while true {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[at...])
      guard let header = try ChildFrame.header(of: rest, fromChild: true) else { return at }
      let whole = ChildFrame.headerSize + header.payloadCount
      guard rest.count >= whole else { return at }
      try onFrame(header, UnsafeRawBufferPointer(rebasing: rest[ChildFrame.headerSize..<whole]))
      at += whole
    }
  }

  func channelInactive(context: ChannelHandlerContext) { end(nil) }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  private func end(_ why: String?) {
    guard !isOver else { return }
    isOver = true
    onEnd(why)
  }
}
