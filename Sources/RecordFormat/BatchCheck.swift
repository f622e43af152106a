import SkeinCore

/// The validation of whole batches, on either side of the log.
public enum BatchCheck {
  /// The produce side: exactly one batch that fills `bytes`, as the broker is willing to append it
  /// (R3, R60, architecture.md). Uncompressed batches are walked to the last varint; compressed
  /// ones are not inflated.
  ///
  /// Not checked here, because it needs state: sequences (P3-P7) and the partitioner generation.
  /// - Parameter latestTimestamp: the broker's wall clock plus one hour, in milliseconds (R60).
  public static func produce(
    _ bytes: UnsafeRawBufferPointer, limits: BatchLimits = BatchLimits(),
    latestTimestamp: Int64 = .max
  ) throws(BatchError) -> BatchHeader {
    guard bytes.count <= limits.maxBatchBytes else {
      throw .batchTooLarge(size: bytes.count, limit: limits.maxBatchBytes)
    }
    let header = try whole(bytes)
    try checksum(header, bytes)
    try producible(header, limits, latestTimestamp)
    let records = UnsafeRawBufferPointer(rebasing: bytes[BatchHeader.size...])
    if header.codec == Codec.none { try walk(records, header, limits) }
    return header
  }

  /// The consumer's and the log's side: exactly one batch that fills `bytes`, whose CRC is right
  /// and whose header makes sense. Control and transactional batches are welcome; records are
  /// checked when they are read. No size limit: one that was lowered must not hide what is stored.
  public static func stored(_ bytes: UnsafeRawBufferPointer) throws(BatchError) -> BatchHeader {
    let header = try whole(bytes)
    try checksum(header, bytes)
    try readable(header)
    return header
  }

  /// That every record of a batch which `produce` has accepted has a key, as compacted topics want.
  /// A compressed batch is inflated for it: at most `limits.maxInflatedBytes`, for the time of the call.
  public static func keys(
    _ bytes: UnsafeRawBufferPointer, limits: BatchLimits = BatchLimits()
  ) throws(BatchError) {
    var reader = BatchReader(limits: limits)
    var records = try reader.open(bytes, verifyingChecksum: false)
    var index = 0
    while let record = try records.next() {
      guard record.key != nil else { throw .keyMissing(index: index) }
      index += 1
    }
  }

  // MARK: Steps

  static func whole(_ bytes: UnsafeRawBufferPointer) throws(BatchError) -> BatchHeader {
    let header = try BatchHeader(parsing: bytes)
    guard header.totalSize <= bytes.count else {
      throw .truncated(needed: header.totalSize, available: bytes.count)
    }
    guard header.totalSize == bytes.count else {
      throw .trailingBytes(bytes.count - header.totalSize)
    }
    return header
  }

  static func checksum(_ header: BatchHeader, _ bytes: UnsafeRawBufferPointer) throws(BatchError) {
    let covered = UnsafeRawBufferPointer(rebasing: bytes[BatchHeader.checksumStart...])
    let computed = CRC32C.checksum(covered)
    guard computed == header.crc else { throw .badCRC(stored: header.crc, computed: computed) }
  }

  private static func producible(
    _ header: BatchHeader, _ limits: BatchLimits, _ latestTimestamp: Int64
  ) throws(BatchError) {
    if header.isControl { throw .controlBatch }
    if header.isTransactional { throw .transactionalBatch }
    if header.hasAppendTime { throw .appendTimeSet }
    guard header.attributes & ~BatchHeader.Bits.codec == 0 else {
      throw .unknownAttributes(header.attributes)
    }
    guard header.codec?.isSupported == true else {
      throw .unsupportedCodec(header.attributes & BatchHeader.Bits.codec)
    }
    guard header.recordCount > 0 else { throw .emptyBatch }
    guard Int64(header.recordCount) == Int64(header.lastOffsetDelta) + 1 else {
      throw .badCounts(records: header.recordCount, lastOffsetDelta: header.lastOffsetDelta)
    }
    guard Int(header.recordCount) <= limits.maxRecords else {
      throw .tooManyRecords(Int(header.recordCount), limit: limits.maxRecords)
    }
    guard header.baseTimestamp >= 0 else { throw .timestampInvalid(header.baseTimestamp) }
    guard header.maxTimestamp >= 0, header.maxTimestamp <= latestTimestamp else {
      throw .timestampInvalid(header.maxTimestamp)
    }
    guard header.producerID >= -1,
      header.producerID == -1 || (header.producerEpoch >= 0 && header.baseSequence >= 0)
    else {
      throw .badSequence(producerEpoch: header.producerEpoch, baseSequence: header.baseSequence)
    }
  }

  /// What a reader needs to be true before it opens a batch.
  static func readable(_ header: BatchHeader) throws(BatchError) {
    guard header.attributes & ~BatchHeader.Bits.known == 0 else {
      throw .unknownAttributes(header.attributes)
    }
    // Compaction may leave fewer records than offsets, down to none.
    guard header.recordCount >= 0, header.lastOffsetDelta >= 0,
      Int64(header.recordCount) <= Int64(header.lastOffsetDelta) + 1
    else {
      throw .badCounts(records: header.recordCount, lastOffsetDelta: header.lastOffsetDelta)
    }
    guard header.baseOffset >= 0, header.baseOffset < Offset.limit.rawValue else {
      throw .badOffset(header.baseOffset)
    }
  }

  private static func walk(
    _ records: UnsafeRawBufferPointer, _ header: BatchHeader, _ limits: BatchLimits
  ) throws(BatchError) {
    var parser = RecordParser(records, limits: limits)
    var (earliest, latest) = (Int64.max, Int64.min)
    var index = 0
    do throws(RecordFlaw) {
      while index < Int(header.recordCount) {
        let fields = try parser.next()
        guard fields.attributes == 0 else { throw .attributes }
        guard Int(fields.offsetDelta) == index else { throw .offsetDelta }
        let (timestamp, overflow) = header.baseTimestamp.addingReportingOverflow(
          fields.timestampDelta)
        guard !overflow else { throw .timestamp }
        earliest = min(earliest, timestamp)
        latest = max(latest, timestamp)
        index += 1
      }
      guard parser.isAtEnd else { throw .moreThanCounted }
    } catch {
      throw BatchError(error, index: index, limits: limits)
    }
    guard earliest >= 0 else { throw .timestampInvalid(earliest) }
    guard latest == header.maxTimestamp else {
      throw .maxTimestampWrong(stored: header.maxTimestamp, actual: latest)
    }
  }
}
