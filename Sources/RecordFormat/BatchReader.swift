/// Reads the records of batches, one batch after the other.
///
/// Owns the memory that compressed batches inflate into: keep one per consumer and use it for all
/// its batches. Nothing is allocated per record. Confined to one task or loop at a time.
///
/// ```swift
/// var reader = BatchReader()
/// let header = try reader.forEach(bytes) { record in … }   // go on at header.nextOffset
/// ```
///
/// `@unchecked Sendable`: not copyable, so whoever holds it is alone with its memory.
public struct BatchReader: ~Copyable, @unchecked Sendable {
  @usableFromInline let limits: BatchLimits
  private var inflater: Inflater?

  public init(limits: BatchLimits = BatchLimits()) { self.limits = limits }

  /// Bytes held for inflating, for tests of the bound.
  package var scratchBytes: Int { inflater?.scratchBytes ?? 0 }

  /// Calls `body` with every record of the one batch that fills `batch`, in order, and returns the
  /// batch's header. Records of control batches are the broker's own and are not shown.
  ///
  /// - Parameter verifyingChecksum: false when `BatchCheck.stored` has accepted these very bytes.
  /// - Throws: `BatchError`, or what `body` throws, which ends the iteration. A batch whose
  ///   records do not parse to the end may have shown the records before the flaw.
  @inlinable @discardableResult
  public mutating func forEach(
    _ batch: UnsafeRawBufferPointer, verifyingChecksum: Bool = true,
    _ body: (RecordView) throws -> Void
  ) throws -> BatchHeader {
    var records = try open(batch, verifyingChecksum: verifyingChecksum)
    defer { close() }
    while let record = try records.next() { try body(record) }
    return records.header
  }

  /// Checks the batch and makes its records readable, inflating them if need be.
  @usableFromInline
  mutating func open(
    _ batch: UnsafeRawBufferPointer, verifyingChecksum: Bool
  ) throws(BatchError) -> BatchRecords {
    let header = try BatchCheck.whole(batch)
    if verifyingChecksum { try BatchCheck.checksum(header, batch) }
    try BatchCheck.readable(header)
    guard let codec = header.codec, codec.isSupported else {
      throw .unsupportedCodec(header.attributes & BatchHeader.Bits.codec)
    }
    var bytes = UnsafeRawBufferPointer(rebasing: batch[BatchHeader.size...])
    if codec != .none {
      let inflater = inflater ?? Inflater()
      self.inflater = inflater
      bytes = try inflater.inflate(bytes, codec: codec, limits: limits)
    }
    return BatchRecords(bytes, header: header, limits: limits)
  }

  @usableFromInline
  mutating func close() { inflater?.trim() }
}

/// The records of an open batch, in order.
@usableFromInline
struct BatchRecords {
  @usableFromInline let header: BatchHeader
  @usableFromInline let limits: BatchLimits
  @usableFromInline var parser: RecordParser
  @usableFromInline var index = 0
  @usableFromInline var previousDelta: Int32 = -1
  /// What the records' timestamp deltas are added to.
  @usableFromInline let timestampBase: Int64
  /// A broker set one timestamp for all (attribute bit 3): deltas do not count.
  @usableFromInline let isAppendTime: Bool

  init(_ bytes: UnsafeRawBufferPointer, header: BatchHeader, limits: BatchLimits) {
    self.header = header
    self.limits = limits
    parser = RecordParser(bytes, limits: limits)
    isAppendTime = header.hasAppendTime
    timestampBase = isAppendTime ? header.maxTimestamp : header.baseTimestamp
    if header.isControl { index = Int(header.recordCount) }
  }

  /// The next record, or nil after the last.
  @inlinable @inline(__always)
  mutating func next() throws(BatchError) -> RecordView? {
    guard index < Int(header.recordCount) else {
      guard parser.isAtEnd || header.isControl else {
        throw .badRecord(index: index, flaw: .moreThanCounted)
      }
      return nil
    }
    do throws(RecordFlaw) {
      let fields = try parser.next()
      guard fields.offsetDelta > previousDelta, fields.offsetDelta <= header.lastOffsetDelta else {
        throw .offsetDelta
      }
      previousDelta = fields.offsetDelta
      let delta = isAppendTime ? 0 : fields.timestampDelta
      let (timestamp, overflow) = timestampBase.addingReportingOverflow(delta)
      guard !overflow else { throw .timestamp }
      index += 1
      // Cannot overflow: `readable` held the base offset below 2^62.
      return RecordView(
        offset: header.baseOffset &+ Int64(fields.offsetDelta), timestamp: timestamp,
        key: fields.key, value: fields.value, headers: fields.headers)
    } catch {
      throw BatchError(error, index: index, limits: limits)
    }
  }
}
