/// What the broker writes into a batch that it appends. Both fields lie before the CRC's coverage,
/// so the client's checksum stays valid (R3).
public enum BatchStamp {
  /// Stamps in place. `bytes` begins with a batch that `BatchCheck.produce` accepted; traps when
  /// it is shorter than a header.
  public static func baseOffset(
    _ offset: Int64, leaderEpoch: Int32, in bytes: UnsafeMutableRawBufferPointer
  ) {
    precondition(bytes.count >= BatchHeader.size)
    bytes.storeBigEndian(offset, at: 0)
    bytes.storeBigEndian(leaderEpoch, at: 12)
  }
}
