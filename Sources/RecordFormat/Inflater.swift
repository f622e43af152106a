/// Decompresses the records of one batch after the other into memory that it keeps.
///
/// Not `Sendable`: it belongs to one `BatchReader`.
@usableFromInline
final class Inflater {
  private var scratch = Scratch()
  private var zstd: ZstdDecompressor?
  private var gzip: GzipDecompressor?
  private var lz4: LZ4Decompressor?

  init() {}

  var scratchBytes: Int { scratch.capacity }

  /// The records of a compressed batch. Valid until the next call.
  func inflate(
    _ source: UnsafeRawBufferPointer, codec: Codec, limits: BatchLimits
  ) throws(BatchError) -> UnsafeRawBufferPointer {
    let limit = limits.inflatedLimit(compressed: source.count)
    do throws(BatchError) {
      return scratch.prefix(try decompress(source, codec: codec, limit: limit))
    } catch {
      trim()
      throw error
    }
  }

  /// Gives back what an unusually large batch needed.
  func trim() { scratch.shrink(above: Scratch.keptBytes) }

  private func decompress(
    _ source: UnsafeRawBufferPointer, codec: Codec, limit: Int
  ) throws(BatchError) -> Int {
    switch codec {
    case .zstd:
      if zstd == nil { zstd = ZstdDecompressor() }
      guard let count = try zstd?.decompress(source, into: &scratch, limit: limit) else {
        throw .badCompression(codec)
      }
      return count
    case .gzip:
      if gzip == nil { gzip = GzipDecompressor() }
      guard let count = try gzip?.decompress(source, into: &scratch, limit: limit) else {
        throw .badCompression(codec)
      }
      return count
    case .lz4:
      if lz4 == nil { lz4 = LZ4Decompressor() }
      guard let count = try lz4?.decompress(source, into: &scratch, limit: limit) else {
        throw .badCompression(codec)
      }
      return count
    case .snappy:
      return try SnappyDecompressor.decompress(source, into: &scratch, limit: limit)
    case .none:
      throw .unsupportedCodec(codec.rawValue)
    }
  }
}
