import CZstd

/// libzstd's one-shot decompressor with its reusable context.
///
/// One-shot, not streaming, on purpose: the streaming decoder allocates a window whose size the
/// frame header claims. Here the output is the window, and the output grows only as far as real
/// data filled it before.
struct ZstdDecompressor: ~Copyable {
  private let context: OpaquePointer

  init?() {
    guard let context = ZSTD_createDCtx() else { return nil }
    self.context = context
  }

  deinit { ZSTD_freeDCtx(context) }

  /// Decompresses all of `source` (one frame or several) and returns the number of bytes now at
  /// the front of `scratch`.
  /// - Throws: `inflatesTooLarge` beyond `limit`, `badCompression` for anything that is not zstd.
  func decompress(
    _ source: UnsafeRawBufferPointer, into scratch: inout Scratch, limit: Int
  ) throws(BatchError) -> Int {
    scratch.reserve(min(limit, InflateGrowth.first))
    while true {
      let room = min(scratch.capacity, limit)
      let result = ZSTD_decompressDCtx(
        context, scratch.base, room, source.baseAddress, source.count)
      if ZSTD_isError(result) == 0 { return result }
      guard ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall else {
        throw .badCompression(.zstd)
      }
      guard room < limit else { throw .inflatesTooLarge(compressed: source.count, limit: limit) }
      scratch.reserve(InflateGrowth.next(room, limit: limit))
    }
  }
}

/// libzstd's one-shot compressor with its reusable context.
struct ZstdCompressor: ~Copyable {
  private let context: OpaquePointer
  /// Kafka's default: about 300 MB/s, and close to gzip's best ratio.
  private static let level: Int32 = 3

  init?() {
    guard let context = ZSTD_createCCtx() else { return nil }
    self.context = context
  }

  deinit { ZSTD_freeCCtx(context) }

  /// Compresses `source` to the front of `scratch`; nil when libzstd fails (out of memory).
  func compress(_ source: UnsafeRawBufferPointer, into scratch: inout Scratch) -> Int? {
    scratch.reserve(ZSTD_compressBound(source.count))
    let result = ZSTD_compressCCtx(
      context, scratch.base, scratch.capacity, source.baseAddress, source.count, Self.level)
    return ZSTD_isError(result) == 0 ? result : nil
  }
}
