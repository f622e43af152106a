import CLZ4

/// liblz4's decompressor of the LZ4 frame format, which is what Kafka's v2 batches carry, with its
/// reusable context.
///
/// A frame's header chooses the size of its blocks, at most 4 MiB; that bounds what the context holds
/// (about 8 MiB), whatever else a frame claims. Linked and independent blocks, with or without
/// checksums and content size, are read.
struct LZ4Decompressor: ~Copyable {
  private let context: OpaquePointer

  init?() {
    var context: OpaquePointer?
    guard LZ4F_isError(LZ4F_createDecompressionContext(&context, UInt32(LZ4F_VERSION))) == 0, let context
    else { return nil }
    self.context = context
  }

  deinit { LZ4F_freeDecompressionContext(context) }

  /// Decompresses all of `source` (one frame or several) and returns the number of bytes now at the
  /// front of `scratch`.
  /// - Throws: `inflatesTooLarge` beyond `limit`, `badCompression` for anything that is not LZ4.
  func decompress(
    _ source: UnsafeRawBufferPointer, into scratch: inout Scratch, limit: Int
  ) throws(BatchError) -> Int {
    LZ4F_resetDecompressionContext(context)
    guard !source.isEmpty else { throw .badCompression(.lz4) }
    // One byte more than the limit tells "exactly full" from "too much".
    scratch.reserve(min(limit + 1, InflateGrowth.first))
    var produced = 0
    var consumed = 0
    while true {
      let room = min(scratch.capacity, limit + 1)
      var written = room - produced
      var read = source.count - consumed
      let hint = LZ4F_decompress(
        context, scratch.base + produced, &written,
        source.baseAddress.map { $0 + consumed }, &read, nil)
      guard LZ4F_isError(hint) == 0 else { throw .badCompression(.lz4) }
      produced += written
      consumed += read
      guard produced <= limit else {
        throw .inflatesTooLarge(compressed: source.count, limit: limit)
      }
      // Zero: a frame is complete; the context is ready for a further one.
      if hint == 0, consumed == source.count { return produced }
      if produced == room {
        scratch.reserve(InflateGrowth.next(room, limit: limit + 1), keeping: produced)
      } else if written == 0, read == 0 || consumed == source.count {
        throw .badCompression(.lz4)  // it wants more than there is
      }
    }
  }
}

/// liblz4's one-shot frame compressor.
struct LZ4Compressor {
  /// Blocks of 64 KiB that do not refer to each other: Kafka's own reader refuses linked ones.
  private static let preferences: LZ4F_preferences_t = {
    var preferences = LZ4F_preferences_t()
    preferences.frameInfo.blockSizeID = LZ4F_max64KB
    preferences.frameInfo.blockMode = LZ4F_blockIndependent
    return preferences
  }()

  /// Compresses `source` to the front of `scratch`; nil when liblz4 fails (out of memory).
  func compress(_ source: UnsafeRawBufferPointer, into scratch: inout Scratch) -> Int? {
    var preferences = Self.preferences
    scratch.reserve(LZ4F_compressFrameBound(source.count, &preferences))
    let result = LZ4F_compressFrame(
      scratch.base, scratch.capacity, source.baseAddress, source.count, &preferences)
    return LZ4F_isError(result) == 0 ? result : nil
  }
}
