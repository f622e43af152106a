import CNGHTTP2

/// nghttp2's callbacks, which do nothing but find the connection and the call.
///
/// `@unchecked Sendable`: filled once before it is shared, read-only afterwards (nghttp2 copies it
/// into every session).
final class HTTP2Callbacks: @unchecked Sendable {
  static let shared = HTTP2Callbacks()
  let pointer: OpaquePointer?

  private init() {
    var callbacks: OpaquePointer?
    guard nghttp2_session_callbacks_new(&callbacks) == 0, let callbacks else {
      pointer = nil
      return
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, user in
      guard let frame else { return 0 }
      HTTP2Callbacks.connection(user).headersBegan(frame.pointee.hd.stream_id)
      return 0
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks) {
      _, _, name, nameLength, value, valueLength, _, user in
      let kept = HTTP2Callbacks.connection(user).header(
        UnsafeBufferPointer(start: name, count: nameLength),
        UnsafeBufferPointer(start: value, count: valueLength))
      return kept ? 0 : Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, stream, bytes, count, user in
      let paused = HTTP2Callbacks.connection(user).data(
        stream, UnsafeRawBufferPointer(start: bytes, count: count))
      return paused ? Int32(NGHTTP2_ERR_PAUSE.rawValue) : 0
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
      if let frame { HTTP2Callbacks.connection(user).frameReceived(frame) }
      return 0
    }
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, user in
      if let frame { HTTP2Callbacks.connection(user).frameSent(frame) }
      return 0
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, stream, error, user in
      HTTP2Callbacks.connection(user).streamClosed(stream, error)
      return 0
    }
    nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, frame, header, length, _, user in
      guard let frame, let header else { return Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
      let roomLeft = HTTP2Callbacks.connection(user).sendData(
        frame.pointee.hd.stream_id, UnsafeRawBufferPointer(start: header, count: 9), length)
      // The frame is sent either way; a pause makes nghttp2 return so that the buffer can be changed.
      return roomLeft ? 0 : Int32(NGHTTP2_ERR_PAUSE.rawValue)
    }
    pointer = callbacks
  }

  /// The data source of every stream: lengths only, the bytes go out in `sendData`.
  static let readData: nghttp2_data_source_read_callback = { session, stream, _, length, flags, _, user in
    guard let flags, let call = HTTP2Callbacks.connection(user).session?.call(stream) else {
      return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
    }
    switch call.supply(length) {
    case .nothingNow: return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    case .bytes(let count, let isLast, let trailers):
      flags.pointee |= UInt32(NGHTTP2_DATA_FLAG_NO_COPY.rawValue)
      if isLast { flags.pointee |= UInt32(NGHTTP2_DATA_FLAG_EOF.rawValue) }
      if let trailers {
        flags.pointee |= UInt32(NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue)
        HTTP2Callbacks.connection(user).session?.submitTrailers(stream, trailers)
      }
      return count
    }
  }

  @inline(__always)
  private static func connection(_ user: UnsafeMutableRawPointer?) -> Connection {
    // nghttp2 hands back the pointer that `HTTP2Session.init` gave it.
    Unmanaged<Connection>.fromOpaque(user.unsafelyUnwrapped).takeUnretainedValue()
  }
}
