import NIOCore
import NIOPosix
import Synchronization

/// A bare TCP client for what no proper client would send.
final class RawPeer: Sendable {
  private let channel: any Channel
  private let sink: Sink

  private init(_ channel: any Channel, _ sink: Sink) {
    self.channel = channel
    self.sink = sink
  }

  static func connect(_ port: Int) async throws -> RawPeer {
    let sink = Sink()
    let channel = try await ClientBootstrap(group: TestServer.group)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(sink) }
      }
      .connect(host: "127.0.0.1", port: port).get()
    return RawPeer(channel, sink)
  }

  func send(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

  /// Closes at once.
  func close() async { try? await channel.close().get() }

  /// Returns when the server has closed the connection.
  func closed() async { try? await channel.closeFuture.get() }

  var received: Int { sink.count.withLock { $0 } }

  private final class Sink: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    let count = Mutex<Int>(0)
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      let n = unwrapInboundIn(data).readableBytes
      count.withLock { $0 += n }
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
  }
}
