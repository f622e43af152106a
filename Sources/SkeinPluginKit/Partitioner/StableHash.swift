/// A hash that is the same in every process, version and machine: FNV-1a with 64 bits (draft-eastlake-fnv), then the
/// finalizer of MurmurHash3, which spreads it over all bits. Not for adversaries: who may choose keys can make them
/// collide.
public enum StableHash {
  @inlinable
  public static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    return mix(hash)
  }

  /// Every bit of the result depends on every bit of `value`.
  @inlinable
  public static func mix(_ value: UInt64) -> UInt64 {
    var hash = value
    hash = (hash ^ (hash >> 33)) &* 0xff51_afd7_ed55_8ccd
    hash = (hash ^ (hash >> 33)) &* 0xc4ce_b9fe_1a85_ec53
    return hash ^ (hash >> 33)
  }
}
