/// MurmurHash2, 32 bit, exactly as Kafka's Java client computes it on keys, so that the same key
/// lands on the same partition number (KIP-480's default partitioner; seed 0x9747b28c).
public enum Murmur2 {
  public static func hash(_ key: UnsafeRawBufferPointer) -> UInt32 {
    let m: UInt32 = 0x5bd1_e995
    var h: UInt32 = 0x9747_b28c ^ UInt32(truncatingIfNeeded: key.count)
    var at = 0
    while key.count - at >= 4 {
      var k = UInt32(littleEndian: key.loadUnaligned(fromByteOffset: at, as: UInt32.self))
      k = k &* m
      k ^= k >> 24
      k = k &* m
      h = h &* m
      h ^= k
      at += 4
    }
    let rest = key.count - at
    if rest == 3 { h ^= UInt32(key[at + 2]) << 16 }
    if rest >= 2 { h ^= UInt32(key[at + 1]) << 8 }
    if rest >= 1 {
      h ^= UInt32(key[at])
      h = h &* m
    }
    h ^= h >> 13
    h = h &* m
    return h ^ (h >> 15)
  }

  /// The partition of a key: the hash made positive by clearing its sign bit, modulo the count.
  /// - Parameter count: partitions of the topic, at least 1.
  public static func partition(_ key: UnsafeRawBufferPointer, count: Int32) -> Int32 {
    Int32(bitPattern: hash(key) & 0x7fff_ffff) % count
  }
}
