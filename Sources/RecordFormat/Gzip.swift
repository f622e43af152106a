import CZlib

/// zlib's inflate for gzip streams (RFC 1952), with its reusable state.
struct GzipDecompressor: ~Copyable {
  private let stream: UnsafeMutablePointer<z_stream>

  init?() {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    guard
      inflateInit2_(
        stream, Gzip.windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else {
      stream.deallocate()
      return nil
    }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  /// Decompresses all of `source` (one gzip member or several) and returns the number of bytes now
  /// at the front of `scratch`.
  /// - Throws: `inflatesTooLarge` beyond `limit`, `badCompression` for anything that is not gzip.
  func decompress(
    _ source: UnsafeRawBufferPointer, into scratch: inout Scratch, limit: Int
  ) throws(BatchError) -> Int {
    var produced = 0
    inflateReset(stream)
    stream.pointee.next_in = Gzip.input(source)
    stream.pointee.avail_in = UInt32(source.count)
    scratch.reserve(min(limit + 1, InflateGrowth.first))
    while true {
      // One byte more than the limit tells "exactly full" from "too much".
      let room = min(scratch.capacity, limit + 1)
      stream.pointee.next_out = (scratch.base + produced).assumingMemoryBound(to: UInt8.self)
      stream.pointee.avail_out = UInt32(room - produced)
      let status = inflate(stream, Z_NO_FLUSH)
      produced = room - Int(stream.pointee.avail_out)
      guard produced <= limit else {
        throw .inflatesTooLarge(compressed: source.count, limit: limit)
      }
      switch status {
      case Z_STREAM_END:
        if stream.pointee.avail_in == 0 { return produced }
        inflateReset(stream)  // a further member; it keeps next_in
      case Z_OK, Z_BUF_ERROR:
        guard stream.pointee.avail_out == 0 else { throw .badCompression(.gzip) }
      default:
        throw .badCompression(.gzip)
      }
      if produced == room {
        scratch.reserve(InflateGrowth.next(room, limit: limit + 1), keeping: produced)
      }
    }
  }
}

/// zlib's deflate to one gzip member, with its reusable state.
struct GzipCompressor: ~Copyable {
  private let stream: UnsafeMutablePointer<z_stream>

  init?() {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    let memoryLevel: Int32 = 8  // zlib's default
    guard
      deflateInit2_(
        stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, Gzip.windowBits, memoryLevel,
        Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else {
      stream.deallocate()
      return nil
    }
  }

  deinit {
    deflateEnd(stream)
    stream.deallocate()
  }

  /// Compresses `source` to the front of `scratch`; nil when zlib fails.
  func compress(_ source: UnsafeRawBufferPointer, into scratch: inout Scratch) -> Int? {
    deflateReset(stream)
    let bound = Int(deflateBound(stream, UInt(source.count)))
    scratch.reserve(bound)
    stream.pointee.next_in = Gzip.input(source)
    stream.pointee.avail_in = UInt32(source.count)
    stream.pointee.next_out = scratch.base.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = UInt32(scratch.capacity)
    guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return nil }
    return scratch.capacity - Int(stream.pointee.avail_out)
  }
}

private enum Gzip {
  /// The largest window, with gzip's header and trailer instead of zlib's.
  static let windowBits: Int32 = 15 + 16

  /// zlib declares its input mutable but does not write to it.
  static func input(_ source: UnsafeRawBufferPointer) -> UnsafeMutablePointer<UInt8>? {
    UnsafeMutableRawBufferPointer(mutating: source).baseAddress?.assumingMemoryBound(to: UInt8.self)
  }
}
