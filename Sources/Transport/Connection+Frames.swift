import CNGHTTP2
import NIOCore
import SkeinCore

/// The callbacks of nghttp2. They may queue frames, but neither receive nor send.
extension Connection {
  func headersBegan(_ stream: Int32) { head.reset() }

  /// False closes the connection: an oversized header list costs CPU long before it costs memory, so
  /// the first one is the last.
  func header(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) -> Bool {
    if head.add(name, value, limit: limits.maxHeaderListBytes) { return true }
    fail(.abuse, "header list over \(limits.maxHeaderListBytes) bytes")
    return false
  }

  /// True pauses the session: the memory budget is spent.
  func data(_ stream: Int32, _ bytes: UnsafeRawBufferPointer) -> Bool {
    creditConnection(bytes.count)
    guard let call = session?.call(stream), !call.isClosed else {
      session?.consumeStream(stream, bytes.count)
      return false
    }
    guard let rest = call.receive(bytes, budget: budget) else { return false }
    beginStall(call, rest)
    return true
  }

  func frameReceived(_ frame: UnsafePointer<nghttp2_frame>) {
    let header = frame.pointee.hd
    let endStream = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch UInt32(header.type) {
    case NGHTTP2_DATA.rawValue:
      if endStream, let call = session?.call(header.stream_id) { role.dataEnded(self, call) }
    case NGHTTP2_HEADERS.rawValue:
      let category = frame.pointee.headers.cat
      role.headers(
        self, stream: header.stream_id,
        isFirst: category == NGHTTP2_HCAT_REQUEST || category == NGHTTP2_HCAT_RESPONSE,
        endStream: endStream)
    case NGHTTP2_SETTINGS.rawValue:
      if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 { role.settingsReceived(self) }
    case NGHTTP2_GOAWAY.rawValue:
      role.goAwayReceived(self, lastStream: frame.pointee.goaway.last_stream_id)
    default: break
    }
  }

  func frameSent(_ frame: UnsafePointer<nghttp2_frame>) {
    let header = frame.pointee.hd
    guard let session else { return }
    if UInt32(header.type) == NGHTTP2_GOAWAY.rawValue { tellRefusal(frame.pointee.goaway) }
    guard role.isServer else {
      if hasQueuedCalls, UInt32(header.type) == NGHTTP2_HEADERS.rawValue {
        session.call(header.stream_id)?.wasSent = true
      }
      return
    }
    if UInt32(header.type) == NGHTTP2_RST_STREAM.rawValue {
      return countReset(frame.pointee.rst_stream.error_code)
    }
    // Trailers of a gRPC answer, or the last DATA of an HTTP response.
    guard UInt32(header.type) == NGHTTP2_HEADERS.rawValue || UInt32(header.type) == NGHTTP2_DATA.rawValue,
      header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    else { return }
    // The answer is complete; a client that still sends is told to stop (RFC 9113, 8.1).
    guard !session.isRemoteClosed(header.stream_id) else { return }
    if session.call(header.stream_id)?.http != nil { return linger(header.stream_id) }
    session.reset(header.stream_id, NGHTTP2_NO_ERROR)
  }

  /// nghttp2 ends the session by itself where the peer breaks HTTP/2; its reason travels in the frame.
  private func tellRefusal(_ frame: nghttp2_goaway) {
    guard frame.error_code != NGHTTP2_NO_ERROR.rawValue, closeError == NGHTTP2_NO_ERROR else { return }
    let name = nghttp2_http2_strerror(frame.error_code).map { String(cString: $0) } ?? "\(frame.error_code)"
    let words = UnsafeBufferPointer(start: frame.opaque_data, count: min(frame.opaque_data_len, 200))
    let why = String(decoding: words, as: UTF8.self).displayable
    closeReason = "HTTP/2: \(name)" + (why.isEmpty ? "" : " (\(why))")
    isRefused = true
    report(.protocolError, closeReason)
  }

  /// Resets that the peer provoked by breaking rules cost as much as its own (CVE-2025-8671).
  private func countReset(_ error: UInt32) {
    guard error != NGHTTP2_NO_ERROR.rawValue, error != NGHTTP2_CANCEL.rawValue else { return }
    if !ownResets.take(lastRead) { fail(.abuse, "the peer provoked too many stream resets") }
  }

  func streamClosed(_ stream: Int32, _ error: UInt32) {
    guard let call = session?.call(stream), !call.isClosed else { return }
    call.close(role.status(ofReset: error), Metadata())
  }

  // MARK: Flow control

  /// Returns the connection's credit for received bytes at once, unless its calls hold too much.
  private func creditConnection(_ bytes: Int) {
    if unreleased <= unreleasedLimit {
      session?.consumeConnection(bytes)
    } else {
      owedCredit += bytes
    }
    setNeedsPump()
  }

  /// Returns a call's credit.
  func consume(_ call: Call, _ bytes: Int) {
    unreleased -= bytes
    session?.consumeStream(call.stream, bytes)
    repayCredit()
    setNeedsPump()
  }

  func repayCredit() {
    guard owedCredit > 0, unreleased <= unreleasedLimit else { return }
    session?.consumeConnection(owedCredit)
    owedCredit = 0
  }
}
