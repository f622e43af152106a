/// Where a reader begins.
public enum ReadStart: Sendable, Hashable {
  /// The first offset that can be read.
  case beginning
  /// The high watermark: only what is published from now on.
  case end
  /// This offset in every partition.
  case offset(Int64)
  /// These offsets; every partition that is read must be among them.
  case offsets([Int32: Int64])
  /// As `offsets`, and the broker says LOG_TRUNCATED when the log was cut below what was read before.
  case positions([Int32: ReadPosition])
  /// The first record at or after this time, in milliseconds since 1970.
  case timestamp(Int64)
}

/// How much a reader buffers and when it ends.
public struct ReaderConfiguration: Sendable {
  /// Stored batch bytes that may be on their way or waiting to be taken. Default 8 MiB. One batch
  /// may go over it.
  public var bufferBytes = 8 * 1024 * 1024
  /// Records that may be on their way or waiting. Default 1,000,000.
  public var bufferRecords = 1_000_000
  /// Stored bytes in one message of the broker at most. Default 256 KiB.
  public var maxMessageBytes = 256 * 1024
  /// End after what was committed when the reader was opened, instead of waiting for more.
  public var stopsAtEnd = false
  /// How often a reader of all partitions looks whether there are more, which it then reads from their beginnings.
  /// Default 5 s; zero: never. Where a key moved, its records before and after lie in two partitions, which are
  /// read side by side.
  public var partitionRefresh: Duration = .seconds(5)

  public init() {}

  func validated() throws(SkeinError) -> ReaderConfiguration {
    guard bufferBytes >= 1, bufferRecords >= 1, (1...(15 << 20)).contains(maxMessageBytes) else {
      throw SkeinError(
        .invalidRequest,
        "reader configuration: bufferBytes and bufferRecords must be at least 1, maxMessageBytes 1 to 15728640"
      )
    }
    return self
  }
}
