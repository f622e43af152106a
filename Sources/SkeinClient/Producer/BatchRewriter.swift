import RecordFormat
import SkeinCore

/// Gives a finished batch another base sequence. Sequences stand under the CRC, so it is computed
/// anew; used only for batches that were definitely not applied (P10).
enum BatchRewriter {
  private static let baseSequenceOffset = 53
  private static let crcOffset = 17
  private static let crcStart = 21

  /// A copy: the old bytes may still be on their way into a socket (P11).
  @Sendable static func resequence(_ batch: SharedBytes, _ sequence: Int32) -> SharedBytes {
    guard batch.count >= BatchHeader.size else { return batch }
    let copy = batch.withUnsafeBytes { SharedBytes(copying: $0) }
    copy.withUnsafeMutableBytesBeforeSharing { bytes in
      bytes.storeBytes(of: sequence.bigEndian, toByteOffset: baseSequenceOffset, as: Int32.self)
      let crc = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[crcStart...]))
      bytes.storeBytes(of: crc.bigEndian, toByteOffset: crcOffset, as: UInt32.self)
    }
    return copy
  }
}
