internal import CSkeinShims

/// CRC-32C (Castagnoli), the checksum of record batches, frames and journal entries.
///
/// Hardware instruction where the processor has it, a table otherwise; the choice is made once.
public enum CRC32C {
  /// Extends `seed` (the CRC of what came before; 0 to begin) by `bytes`.
  public static func checksum(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    guard let base = bytes.baseAddress else { return seed }
    return skein_crc32c(seed, base, bytes.count)
  }

  public static func checksum(_ bytes: [UInt8], seed: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { checksum($0, seed: seed) }
  }

  /// The portable implementation, for the test that compares both.
  package static func portable(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    guard let base = bytes.baseAddress else { return seed }
    return skein_crc32c_portable(seed, base, bytes.count)
  }
}
