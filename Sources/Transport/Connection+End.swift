import CNGHTTP2
import NIOCore
import SkeinCore

/// How a connection ends: by our choice (`shutDown`), by the peer's fault (`fail`), or because its socket is
/// gone (`finish`). Every call it carries is closed exactly once.
extension Connection {
  func report(_ kind: TransportEvent.Kind, _ detail: String) {
    log?(TransportEvent(kind: kind, remoteAddress: remoteAddress, detail: detail))
  }

  /// The peer broke a rule: report, tell it, close.
  func fail(_ kind: TransportEvent.Kind, _ detail: String) {
    guard phase != .closed, phase != .closing else { return }
    report(kind, detail)
    closeError = kind == .abuse ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR
    shutDown(detail)
  }

  /// Sends what can still be sent (GOAWAY, an alert, close_notify), ends our direction, and closes when
  /// the peer has done so too or after `closeTimeout`. Calls end now.
  func shutDown(_ reason: String?) {
    guard phase == .handshaking || phase == .open else { return }
    if let reason { closeReason = reason }
    phase = .closing
    role.closing(self)
    // Not from inside a callback of nghttp2 or libssl.
    eventLoop.execute { self.performShutDown() }
  }

  private func performShutDown() {
    guard phase == .closing, let context else { return }
    session?.terminate(closeError)
    drainOutput()
    tls.shutdown()
    flushOverflow()
    endCalls()
    context.close(mode: .output, promise: nil)
    armClose()
  }

  private func endCalls() {
    let left = calls.values.sorted { $0.stream < $1.stream }
    calls.removeAll()
    for call in left {
      // A client's call whose headers never left is as if it had not begun.
      let status = GRPCStatus(
        .unavailable, closeReason, isDefinitelyUnprocessed: !role.isServer && !call.wasSent)
      call.close(status, Metadata())
    }
  }

  /// The socket is gone, or never came to life.
  func finish() {
    guard phase != .closed else { return }
    phase = .closed
    role.closing(self)
    cancelTimers()
    stall = nil
    endCalls()
    role.ended(self)
    session = nil
    touched.removeAll()
    relievedCalls.removeAll()
  }
}
