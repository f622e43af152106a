import CNGHTTP2
import SkeinCore

/// What leaves on a call's stream. Loop only.
extension Call {
  /// What nghttp2's read callback is told.
  enum Supply {
    /// So many bytes; `isLast`: our side ends with them; `trailers` follow instead of END_STREAM.
    case bytes(Int, isLast: Bool, trailers: HeaderBlock?)
    case nothingNow
  }

  /// The message with gzip, or as it was when that does not pay.
  func compressed(_ message: OutboundMessage) -> OutboundMessage {
    LoopScratch.current().deflater?.compress(message) ?? message
  }

  /// Lets nghttp2 know that there is something to send.
  func wake() {
    guard let connection else { return }
    if isServer, !headersSent { sendHeaders() }
    if isDeferred {
      isDeferred = false
      connection.session?.resume(stream)
    }
    connection.setNeedsPump()
  }

  /// The next DATA frame, of at most `limit` bytes. Nothing is consumed yet: `transmit` follows in
  /// the same call into nghttp2.
  func supply(_ limit: Int) -> Supply {
    let n = min(outbound.count, limit)
    guard n == outbound.count else { return .bytes(n, isLast: false, trailers: nil) }
    switch ending {
    case .none:
      if n > 0 { return .bytes(n, isLast: false, trailers: nil) }
      isDeferred = true
      return .nothingNow
    case .halfClose: return .bytes(n, isLast: true, trailers: nil)
    case .trailers(let status, let metadata):
      if status.code == .ok, status.message.isEmpty, metadata.isEmpty {
        return .bytes(n, isLast: true, trailers: .okTrailers)
      }
      var block = HeaderBlock()
      block.add(metadata)
      block.add(status)
      return .bytes(n, isLast: true, trailers: block)
    }
  }

  /// Encrypts the next `bytes` bytes.
  func transmit(_ bytes: Int, to tls: TLSStream) {
    outbound.take(bytes) { tls.write($0) }
    sentBytes &+= bytes
    if awaitsWritable, outbound.count < lowWaterBytes {
      awaitsWritable = false
      connection?.relieved(self)
    }
  }
}
