/// The bounds that every batch is held to, whoever made it. Sizes in bytes.
///
/// Builder, produce-side check and reader take the same limits, so that what a producer may build
/// a consumer may read.
public struct BatchLimits: Sendable, Hashable {
  /// What a gRPC message needs beside the batch that it carries.
  public static let envelopeBytes = 64 * 1024
  /// The largest batch that any topic may accept: what a gRPC message of 16 MiB can carry. Settings,
  /// announced limits and the checks all follow from it.
  public static let largestBatch = 16 * 1024 * 1024 - envelopeBytes

  /// A whole batch as stored. The default leaves 64 KiB of a 16 MiB gRPC message for its envelope.
  public var maxBatchBytes: Int
  /// One record: its key, its value and its encoded headers together.
  public var maxRecordBytes: Int
  /// Records of one batch; what a compressed batch may claim without being unpacked.
  public var maxRecords: Int
  /// Headers of one record.
  public var maxHeaders: Int
  /// The records section of one batch once decompressed.
  public var maxInflatedBytes: Int
  /// Decompressed bytes per compressed byte, for batches that inflate beyond `ratioFreeBytes`.
  public var maxRatio: Int
  /// Up to this size any ratio is allowed. An honest batch of zeros reaches 30,000 : 1, and a
  /// batch that was acknowledged must stay readable; so the ratio bites only above what a
  /// producer may build in the first place.
  public var ratioFreeBytes: Int

  /// Values below 1, or beyond what the format's 32-bit lengths can say, are clamped.
  public init(
    maxBatchBytes: Int = BatchLimits.largestBatch,
    maxRecordBytes: Int = 8 * 1024 * 1024,
    maxRecords: Int = 1 << 20,
    maxHeaders: Int = 1000,
    maxInflatedBytes: Int = 64 * 1024 * 1024,
    maxRatio: Int = 64,
    ratioFreeBytes: Int = 16 * 1024 * 1024
  ) {
    // Far enough below 2^31 that adding a header or an overhead never overflows an Int32.
    func clamped(_ value: Int) -> Int { min(max(value, 1), 1 << 30) }
    self.maxBatchBytes = clamped(maxBatchBytes)
    self.maxRecordBytes = clamped(maxRecordBytes)
    self.maxRecords = clamped(maxRecords)
    self.maxHeaders = clamped(maxHeaders)
    self.maxInflatedBytes = clamped(maxInflatedBytes)
    self.maxRatio = clamped(maxRatio)
    self.ratioFreeBytes = clamped(ratioFreeBytes)
  }

  /// The most that `compressed` bytes of records may inflate to.
  func inflatedLimit(compressed: Int) -> Int {
    let (byRatio, overflow) = compressed.multipliedReportingOverflow(by: maxRatio)
    return overflow ? maxInflatedBytes : min(maxInflatedBytes, max(ratioFreeBytes, byRatio))
  }
}
