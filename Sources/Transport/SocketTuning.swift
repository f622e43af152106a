import Synchronization
import NIOCore

/// Socket settings that server and client share.
enum SocketTuning {
  /// Small while a connection is idle, growing with its traffic.
  static let receiveAllocator = AdaptiveRecvByteBufferAllocator(
    minimum: 2048, initial: 4096, maximum: 256 << 10)

  /// `address:port`, or `unknown`.
  static func name(_ address: SocketAddress?) -> String {
    guard let address else { return "unknown" }
    guard let ip = address.ipAddress, let port = address.port else { return address.description }
    return ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)"
  }
}

/// The listening sockets of a server. Any thread; behind a lock.
final class LockedListeners: Sendable {
  private let channels = Mutex<[any Channel]>([])

  func add(_ channel: any Channel) { channels.withLock { $0.append(channel) } }

  /// Closes them all.
  func close() async {
    let list = channels.withLock { list in
      defer { list = [] }
      return list
    }
    for channel in list { try? await channel.close().get() }
  }
}
