import CNGHTTP2

/// HPACK for the tests. Confined by its owner.
final class HeaderInflater: @unchecked Sendable {
  private var inflater: OpaquePointer?

  init() { nghttp2_hd_inflate_new(&inflater) }
  deinit { nghttp2_hd_inflate_del(inflater) }

  /// The fields as `name=value` and a newline each.
  func inflate(_ block: [UInt8]) -> String {
    var text = ""
    var rest = block[...]
    while true {
      var field = nghttp2_nv()
      var flags: Int32 = 0
      let used = Array(rest).withUnsafeBufferPointer {
        nghttp2_hd_inflate_hd2(inflater, &field, &flags, $0.baseAddress, $0.count, 1)
      }
      guard used >= 0 else { break }
      rest = rest.dropFirst(used)
      if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
        let name = UnsafeBufferPointer(start: field.name, count: field.namelen)
        let value = UnsafeBufferPointer(start: field.value, count: field.valuelen)
        text += String(decoding: name, as: UTF8.self) + "=" + String(decoding: value, as: UTF8.self) + "\n"
      }
      if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 {
        nghttp2_hd_inflate_end_headers(inflater)
        break
      }
      if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) == 0, used == 0 { break }
    }
    return text
  }
}
