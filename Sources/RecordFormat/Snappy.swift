import CSnappy

/// libsnappy's decompressor for both shapes that Kafka's clients write: one raw block (librdkafka), or the
/// framing of snappy-java ("xerial"): a header of 16 bytes, then blocks with their length before them.
///
/// A raw block begins with the length that it inflates to. That number comes from outside, so it is
/// believed only as far as the format can honestly reach from the bytes at hand.
enum SnappyDecompressor {
  /// What snappy-java puts in front: a magic number, a version and the oldest version that can read it.
  private static let magic: [UInt8] = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]
  private static let headerSize = 16
  private static let lengthSize = 4
  /// The densest element copies 64 bytes by 3; the preamble takes 1 to 5 bytes.
  private static let mostPerByte = 22

  /// Decompresses all of `source` and returns the number of bytes now at the front of `scratch`.
  /// - Throws: `inflatesTooLarge` beyond `limit`, `badCompression` for anything that is not snappy.
  static func decompress(
    _ source: UnsafeRawBufferPointer, into scratch: inout Scratch, limit: Int
  ) throws(BatchError) -> Int {
    guard startsWithMagic(source, at: 0) else {
      return try block(source, 0..<source.count, into: &scratch, after: 0, limit: limit)
    }
    var produced = 0
    var at = 0
    while at < source.count {
      // Streams that were put end to end have further headers.
      if startsWithMagic(source, at: at) {
        guard source.count - at >= headerSize else { throw .badCompression(.snappy) }
        at += headerSize
        continue
      }
      guard source.count - at >= lengthSize else { throw .badCompression(.snappy) }
      let length = source.loadUnaligned(fromByteOffset: at, as: UInt32.self).bigEndian
      at += lengthSize
      guard length > 0, length <= UInt32(Int32.max), Int(length) <= source.count - at else {
        throw .badCompression(.snappy)
      }
      produced = try block(source, at..<at + Int(length), into: &scratch, after: produced, limit: limit)
      at += Int(length)
    }
    return produced
  }

  /// Inflates one raw block behind `produced` bytes; returns how many there are then.
  private static func block(
    _ source: UnsafeRawBufferPointer, _ range: Range<Int>, into scratch: inout Scratch,
    after produced: Int, limit: Int
  ) throws(BatchError) -> Int {
    let bytes = UnsafeRawBufferPointer(rebasing: source[range])
    guard let input = bytes.assumingMemoryBound(to: CChar.self).baseAddress else {
      throw .badCompression(.snappy)
    }
    var claimed = 0
    guard snappy_uncompressed_length(input, bytes.count, &claimed) == SNAPPY_OK, claimed >= 0,
      claimed <= bytes.count * mostPerByte
    else { throw .badCompression(.snappy) }
    guard claimed <= limit - produced else {
      throw .inflatesTooLarge(compressed: source.count, limit: limit)
    }
    let needed = produced + claimed
    if needed > scratch.capacity {
      // At least by four, so that many small blocks are not copied over and over.
      let grown = min(max(needed, InflateGrowth.next(scratch.capacity, limit: limit)), limit)
      scratch.reserve(max(needed, grown), keeping: produced)
    }
    var written = claimed
    let target = (scratch.base + produced).assumingMemoryBound(to: CChar.self)
    guard snappy_uncompress(input, bytes.count, target, &written) == SNAPPY_OK, written == claimed else {
      throw .badCompression(.snappy)
    }
    return needed
  }

  private static func startsWithMagic(_ source: UnsafeRawBufferPointer, at: Int) -> Bool {
    source.count - at >= magic.count && source[at..<at + magic.count].elementsEqual(magic)
  }
}
