/// Compresses the records of one batch after the other into memory that it keeps.
///
/// Not `Sendable`: it belongs to one `BatchBuilder`.
final class Deflater {
  private var scratch = Scratch()
  private var zstd: ZstdCompressor?
  private var gzip: GzipCompressor?

  /// Gives back what an unusually large batch needed.
  func trim() { scratch.shrink(above: Scratch.keptBytes) }

  /// The compressed bytes, valid until the next call; nil when the codec cannot (no memory).
  func compress(_ source: UnsafeRawBufferPointer, codec: Codec) -> UnsafeRawBufferPointer? {
    let count: Int?
    switch codec {
    case .zstd:
      if zstd == nil { zstd = ZstdCompressor() }
      count = zstd?.compress(source, into: &scratch)
    case .gzip:
      if gzip == nil { gzip = GzipCompressor() }
      count = gzip?.compress(source, into: &scratch)
    case .lz4:
      count = LZ4Compressor().compress(source, into: &scratch)
    case .none, .snappy:
      count = nil
    }
    return count.map { scratch.prefix($0) }
  }
}
