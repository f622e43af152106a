import NIOCore
import SkeinCore
import Wire

/// Sends a heartbeat on a stream that was silent for 5 s (stream rule 3), so that the other side can
/// tell a quiet stream from a dead one. Confined to the stream's loop.
///
/// A peer that has vanished is found by the transport's keep-alive PING, within 45 s.
final class StreamHeartbeat {
  static let silence = TimeAmount.seconds(5)

  private let loop: any EventLoop
  private var lastSent = NIODeadline.now()
  private var task: RepeatedTask?

  init(on loop: any EventLoop, time: any TimeSource, send: @escaping (Heartbeat) -> Void) {
    self.loop = loop
    let beat = NIOLoopBound((self, send), eventLoop: loop)
    task = loop.scheduleRepeatedTask(initialDelay: Self.silence, delay: .seconds(1)) { _ in
      let (heartbeat, send) = beat.value
      guard NIODeadline.now() - heartbeat.lastSent >= Self.silence else { return }
      send(Heartbeat(sentMs: time.wallMilliseconds))
    }
  }

  /// Something else was sent.
  func sent() { lastSent = .now() }

  func stop() {
    task?.cancel()
    task = nil
  }
}
