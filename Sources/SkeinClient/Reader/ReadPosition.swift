/// A place in a partition: where reading goes on, and what was read last. Keep it to go on later.
public struct ReadPosition: Sendable, Hashable {
  /// The offset of the next record.
  public var offset: Int64
  /// Leader epoch of the record before it; 0 = not known. With it the broker sees when the log was cut below
  /// what you have read, and says so (LOG_TRUNCATED) instead of going on with other records.
  public var leaderEpoch: Int32

  public init(offset: Int64, leaderEpoch: Int32 = 0) {
    self.offset = offset
    self.leaderEpoch = leaderEpoch
  }
}
