import CNGHTTP2
import SkeinCore

/// One nghttp2 session and the verbs that we use of it. It parses and makes frames; it does no I/O.
///
/// Confined to the connection's loop. nghttp2 forbids calling `receive` and `send` from its
/// callbacks; everything else here may be called from them.
final class HTTP2Session {
  private let pointer: OpaquePointer

  /// - Parameter connection: receives the callbacks; it owns this session and outlives it.
  init?(isServer: Bool, limits: TransportLimits, connection: Connection) {
    var session: OpaquePointer?
    var option: OpaquePointer?
    guard let callbacks = HTTP2Callbacks.shared.pointer, nghttp2_option_new(&option) == 0 else { return nil }
    defer { nghttp2_option_del(option) }
    nghttp2_option_set_no_auto_window_update(option, 1)
    nghttp2_option_set_stream_reset_rate_limit(option, limits.resetBurst, limits.resetsPerSecond)
    nghttp2_option_set_max_continuations(option, limits.maxContinuations)
    nghttp2_option_set_no_closed_streams(option, 1)
    let context = Unmanaged.passUnretained(connection).toOpaque()
    let result =
      isServer
      ? nghttp2_session_server_new2(&session, callbacks, context, option)
      : nghttp2_session_client_new2(&session, callbacks, context, option)
    guard result == 0, let session else { return nil }
    pointer = session
  }

  deinit { nghttp2_session_del(pointer) }

  // MARK: Bytes

  /// Parses bytes of the peer. Returns false on an error after which the connection must be closed.
  @inline(__always)
  func receive(_ bytes: UnsafeRawBufferPointer) -> Int {
    nghttp2_session_mem_recv(pointer, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
  }

  /// The next bytes to send, or nil when there are none now. DATA does not come out here: it goes
  /// through the connection's `sendData` during this call.
  @inline(__always)
  func send() -> (bytes: UnsafeRawBufferPointer?, failed: Bool) {
    var data: UnsafePointer<UInt8>?
    let n = nghttp2_session_mem_send(pointer, &data)
    if n > 0 { return (UnsafeRawBufferPointer(start: data, count: n), false) }
    return (nil, n < 0)
  }

  var wantsWrite: Bool { nghttp2_session_want_write(pointer) != 0 }
  var wantsRead: Bool { nghttp2_session_want_read(pointer) != 0 }

  // MARK: Connection

  func submitSettings(_ limits: TransportLimits, isServer: Bool) {
    func entry(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
      nghttp2_settings_entry(settings_id: Int32(bitPattern: id.rawValue), value: value)
    }
    var entries = [
      entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, UInt32(max(limits.streamWindowBytes, 65_535))),
      entry(NGHTTP2_SETTINGS_MAX_FRAME_SIZE, min(max(limits.maxFrameBytes, 16_384), (1 << 24) - 1)),
      entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(clamping: limits.maxHeaderListBytes)),
      entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
    ]
    if isServer {
      entries.append(entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.maxConcurrentCalls))
    } else {
      entries.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
    }
    nghttp2_submit_settings(pointer, 0, &entries, entries.count)
    nghttp2_session_set_local_window_size(pointer, 0, 0, max(limits.connectionWindowBytes, 65_535))
  }

  /// The peer has become known: windows and calls up to these limits.
  func raise(to limits: TransportLimits) {
    var entry = nghttp2_settings_entry(
      settings_id: Int32(bitPattern: NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue),
      value: limits.maxConcurrentCalls)
    nghttp2_submit_settings(pointer, 0, &entry, 1)
    nghttp2_session_set_local_window_size(pointer, 0, 0, max(limits.connectionWindowBytes, 65_535))
  }

  /// The same for one call, unless its peer has ended its side.
  func raise(_ stream: Int32, to limits: TransportLimits) {
    guard !isRemoteClosed(stream) else { return }
    nghttp2_session_set_local_window_size(pointer, 0, stream, max(limits.streamWindowBytes, 65_535))
  }

  func ping() { nghttp2_submit_ping(pointer, 0, nil) }

  /// GOAWAY that lets every call that the peer has begun run to its end.
  func goAway(error: nghttp2_error_code = NGHTTP2_NO_ERROR) {
    nghttp2_submit_goaway(
      pointer, 0, nghttp2_session_get_last_proc_stream_id(pointer), error.rawValue, nil, 0)
  }

  /// GOAWAY, after which the session wants neither to read nor to write.
  func terminate(_ error: nghttp2_error_code) {
    nghttp2_session_terminate_session(pointer, error.rawValue)
  }

  /// Streams that the peer lets us open at once.
  var peerMaxStreams: Int {
    Int(nghttp2_session_get_remote_settings(pointer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
  }

  // MARK: Streams

  func call(_ stream: Int32) -> Call? {
    nghttp2_session_get_stream_user_data(pointer, stream).map {
      Unmanaged<Call>.fromOpaque($0).takeUnretainedValue()
    }
  }

  /// Ties the call to its stream; the connection keeps it alive until the stream closes.
  func attach(_ call: Call, to stream: Int32) {
    nghttp2_session_set_stream_user_data(pointer, stream, Unmanaged.passUnretained(call).toOpaque())
  }

  /// Forgets the call: nghttp2 must not hand out its pointer once the connection has let go of it.
  func detach(_ stream: Int32) {
    nghttp2_session_set_stream_user_data(pointer, stream, nil)
  }

  /// The new stream's id, or a negative error.
  func submitRequest(_ headers: HeaderBlock, call: Call) -> Int32 {
    var provider = nghttp2_data_provider(
      source: nghttp2_data_source(), read_callback: HTTP2Callbacks.readData)
    let user = Unmanaged.passUnretained(call).toOpaque()
    return headers.withPairs { pairs, count in
      nghttp2_submit_request(pointer, nil, pairs, count, &provider, user)
    }
  }

  /// Response headers; `isLast` makes them the whole response (a header-only error).
  func submitResponse(_ stream: Int32, _ headers: HeaderBlock, isLast: Bool) {
    headers.withPairs { pairs, count in
      if isLast {
        nghttp2_submit_response(pointer, stream, pairs, count, nil)
      } else {
        var provider = nghttp2_data_provider(
          source: nghttp2_data_source(), read_callback: HTTP2Callbacks.readData)
        nghttp2_submit_response(pointer, stream, pairs, count, &provider)
      }
    }
  }

  func submitTrailers(_ stream: Int32, _ headers: HeaderBlock) {
    headers.withPairs { pairs, count in _ = nghttp2_submit_trailer(pointer, stream, pairs, count) }
  }

  /// There is data again on a stream whose read callback had none.
  @inline(__always)
  func resume(_ stream: Int32) { nghttp2_session_resume_data(pointer, stream) }

  func reset(_ stream: Int32, _ error: nghttp2_error_code) {
    nghttp2_submit_rst_stream(pointer, 0, stream, error.rawValue)
  }

  /// The peer has ended its side of the stream (or the stream is gone).
  func isRemoteClosed(_ stream: Int32) -> Bool {
    nghttp2_session_get_stream_remote_close(pointer, stream) != 0
  }

  /// We have ended our side of the stream (or the stream is gone).
  func isLocalClosed(_ stream: Int32) -> Bool {
    nghttp2_session_get_stream_local_close(pointer, stream) != 0
  }

  // MARK: Flow control

  /// The peer grants no credit now: nothing on this stream moves, trailers behind DATA included.
  func isBlocked(_ stream: Int32) -> Bool {
    nghttp2_session_get_stream_remote_window_size(pointer, stream) <= 0
      || nghttp2_session_get_remote_window_size(pointer) <= 0
  }

  @inline(__always)
  func consumeConnection(_ bytes: Int) { nghttp2_session_consume_connection(pointer, bytes) }

  @inline(__always)
  func consumeStream(_ stream: Int32, _ bytes: Int) {
    nghttp2_session_consume_stream(pointer, stream, bytes)
  }
}
