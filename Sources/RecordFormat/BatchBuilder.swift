public import SkeinCore

/// Builds record batches: records are encoded straight into one growing buffer, and `finish` turns
/// that buffer into the batch.
///
/// Reuse one builder for a partition's batches. Nothing is allocated per record, and one buffer per
/// batch. Confined to one task or loop at a time.
///
/// ```swift
/// var builder = BatchBuilder(codec: .zstd)
/// try builder.append(key: key, value: value, timestamp: now)
/// let batch = try builder.finish(producerID: 7, producerEpoch: 0, baseSequence: 41)
/// ```
///
/// `@unchecked Sendable`: not copyable, so whoever holds it is alone with its buffer.
public struct BatchBuilder: ~Copyable, @unchecked Sendable {
  public let codec: Codec
  public let limits: BatchLimits
  /// Records appended since the last `finish`.
  public private(set) var count = 0

  private let initialCapacity: Int
  private var storage: SharedBytes.Storage? {
    didSet {
      base = storage?.base
      capacity = storage?.capacity ?? 0
    }
  }
  /// Of `storage`, so that appending a record touches no reference count.
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private var used = BatchHeader.size
  private var baseTimestamp: Int64 = 0
  private var maxTimestamp: Int64 = 0
  private var deflater: Deflater?

  /// - Parameters:
  ///   - codec: must be writable, else `finish` leaves batches uncompressed.
  ///   - capacity: expected bytes of a batch before compression; the buffer starts with it.
  public init(codec: Codec = .none, capacity: Int = 16 * 1024, limits: BatchLimits = BatchLimits()) {
    self.codec = codec
    self.limits = limits
    initialCapacity = min(max(capacity, 256), limits.maxBatchBytes)
  }

  public var isEmpty: Bool { count == 0 }

  /// The size of the batch if it were finished now without compression; 61 when it is empty.
  public var sizeInBytes: Int { used }

  /// Adds a record; its offset is its place in the batch.
  ///
  /// - Parameters:
  ///   - headers: of a `RecordHeaders` (`withSequence`) or of a record that was read.
  ///   - timestamp: milliseconds since 1970, not negative.
  /// - Throws: a limit or an unusable timestamp. Nothing was added then: `finish`, and append again.
  ///   `batchTooLarge` and `tooManyRecords` mean that this batch is full.
  public mutating func append(
    key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?, headers: HeaderSequence = .none,
    timestamp: Int64
  ) throws(BatchError) {
    let payload = (key?.count ?? 0) + (value?.count ?? 0) + headers.bytes.count
    guard payload <= limits.maxRecordBytes else {
      throw .recordTooLarge(index: count, size: payload, limit: limits.maxRecordBytes)
    }
    guard headers.count <= limits.maxHeaders else {
      throw .tooManyHeaders(headers.count, limit: limits.maxHeaders)
    }
    guard count < limits.maxRecords else {
      throw .tooManyRecords(count + 1, limit: limits.maxRecords)
    }
    guard timestamp >= 0 else { throw .timestampInvalid(timestamp) }

    // Both are at least 0, so the difference fits.
    let timestampDelta = count == 0 ? 0 : timestamp - baseTimestamp
    let body =
      1 + Zigzag.size(timestampDelta) + Zigzag.size(Int64(count))
      + Zigzag.size(Int64(key?.count ?? -1)) + Zigzag.size(Int64(value?.count ?? -1))
      + Zigzag.size(Int64(headers.count)) + payload
    let total = Zigzag.size(Int64(body)) + body
    guard used + total <= limits.maxBatchBytes else {
      throw .batchTooLarge(size: used + total, limit: limits.maxBatchBytes)
    }

    var next = room(for: total) + used
    next = Zigzag.write(Int64(body), at: next)
    next.storeBytes(of: 0, as: UInt8.self)
    next = Zigzag.write(timestampDelta, at: next + 1)
    next = Zigzag.write(Int64(count), at: next)
    next = Self.write(key, at: next)
    next = Self.write(value, at: next)
    next = Zigzag.write(Int64(headers.count), at: next)
    Self.copy(headers.bytes, to: next)

    used += total
    if count == 0 { baseTimestamp = timestamp }
    maxTimestamp = max(maxTimestamp, timestamp)
    count += 1
  }

  /// Adds records of `source`, in order, until one does not fit: into the batch, or into `room` bytes, of which each
  /// takes its size and `overhead`. An empty batch takes one record whatever the room.
  /// - Returns: how many were added, and what they took. No record is added in part.
  package mutating func append(
    _ records: UnsafeBufferPointer<PreparedRecord>, of source: borrowing PreparedRecords, room: Int,
    overhead: Int
  ) -> (taken: Int, bytes: Int) {
    let (keys, tails) = (source.keyStart, source.tailStart)
    var (taken, bytes) = (0, 0)
    for record in records {
      let size = record.sizeInBytes
      let timestampDelta = count == 0 ? 0 : record.timestamp - baseTimestamp
      let body =
        1 + Zigzag.size(timestampDelta) + Zigzag.size(Int64(count)) + Zigzag.size(Int64(record.keyBytes))
        + size
      let total = Zigzag.size(Int64(body)) + body
      guard bytes + size + overhead <= room || count == 0, count < limits.maxRecords,
        used + total <= limits.maxBatchBytes, let tails
      else { break }
      var next = self.room(for: total) + used
      next = Zigzag.write(Int64(body), at: next)
      next.storeBytes(of: 0, as: UInt8.self)
      next = Zigzag.write(timestampDelta, at: next + 1)
      next = Zigzag.write(Int64(count), at: next)
      next = Zigzag.write(Int64(record.keyBytes), at: next)
      if record.keyBytes > 0, let keys {
        copyBytes(from: keys + Int(record.keyAt), to: next, count: Int(record.keyBytes))
        next += Int(record.keyBytes)
      }
      copyBytes(from: tails + Int(record.tailAt), to: next, count: Int(record.tailBytes))
      used += total
      if count == 0 { baseTimestamp = record.timestamp }
      maxTimestamp = max(maxTimestamp, record.timestamp)
      count += 1
      taken += 1
      bytes += size + overhead
    }
    return (taken, bytes)
  }

  /// Adds a record of arrays. Disfavoured so that two literal nils are not ambiguous.
  @_disfavoredOverload
  public mutating func append(
    key: [UInt8]?, value: [UInt8]?, headers: RecordHeaders = RecordHeaders(), timestamp: Int64
  ) throws(BatchError) {
    try Self.withOptionalBytes(key) { (key) throws(BatchError) in
      try Self.withOptionalBytes(value) { (value) throws(BatchError) in
        try headers.withSequence { (headers) throws(BatchError) in
          try append(key: key, value: value, headers: headers, timestamp: timestamp)
        }
      }
    }
  }

  /// Completes the batch and empties the builder. Base offset is 0 and leader epoch -1 until the
  /// broker stamps them.
  ///
  /// A codec is used when it makes the batch smaller and the result inflates within the limits;
  /// else the batch stays uncompressed, which is always correct.
  /// - Parameters: producer id, epoch and the sequence of the first record (P2), or -1 for none.
  /// - Throws: `emptyBatch`.
  public mutating func finish(
    producerID: Int64 = -1, producerEpoch: Int16 = -1, baseSequence: Int32 = -1
  ) throws(BatchError) -> SharedBytes {
    guard count > 0, let storage else { throw .emptyBatch }
    var header = BatchHeader(
      attributes: 0, recordCount: Int32(count), baseTimestamp: baseTimestamp,
      maxTimestamp: maxTimestamp)
    header.producerID = producerID
    header.producerEpoch = producerEpoch
    header.baseSequence = baseSequence

    let batch: SharedBytes
    if let compressed = compressedRecords(storage) {
      header.attributes = codec.rawValue
      let target = SharedBytes.Storage(capacity: BatchHeader.size + compressed.count)
      Self.copy(compressed, to: target.base + BatchHeader.size)
      batch = SharedBytes(target, offset: 0, count: target.capacity)
    } else if used > storage.capacity / 2 {
      // The batch takes the buffer with it; the next append allocates another.
      batch = SharedBytes(storage, offset: 0, count: used)
      self.storage = nil
    } else {
      // Mostly empty: a copy of the right size is cheaper than the memory it would pin.
      batch = SharedBytes(copying: UnsafeRawBufferPointer(start: storage.base, count: used))
      if storage.capacity > initialCapacity { self.storage = nil }
    }
    batch.withUnsafeMutableBytesBeforeSharing { Self.seal($0, &header) }
    deflater?.trim()
    removeAll()
    return batch
  }

  /// Drops the records appended so far and keeps the buffer.
  public mutating func removeAll() {
    count = 0
    used = BatchHeader.size
    maxTimestamp = 0
  }

  // MARK: Helpers

  /// Writes length, CRC and the rest of the header in front of records that are in place.
  private static func seal(_ bytes: UnsafeMutableRawBufferPointer, _ header: inout BatchHeader) {
    header.batchLength = Int32(bytes.count - BatchHeader.lengthOverhead)
    header.encode(into: bytes)
    let covered = UnsafeRawBufferPointer(rebasing: bytes[BatchHeader.checksumStart...])
    header.crc = CRC32C.checksum(covered)
    header.encode(into: bytes)
  }

  private mutating func compressedRecords(_ storage: SharedBytes.Storage) -> UnsafeRawBufferPointer? {
    guard codec != .none else { return nil }
    let deflater = deflater ?? Deflater()
    self.deflater = deflater
    let raw = UnsafeRawBufferPointer(
      start: storage.base + BatchHeader.size, count: used - BatchHeader.size)
    guard let compressed = deflater.compress(raw, codec: codec), compressed.count < raw.count,
      raw.count <= limits.inflatedLimit(compressed: compressed.count)
    else { return nil }
    return compressed
  }

  /// The buffer's start, with room for `count` more bytes.
  @inline(__always)
  private mutating func room(for count: Int) -> UnsafeMutableRawPointer {
    if let base, capacity - used >= count { return base }
    return grow(by: count)
  }

  private mutating func grow(by count: Int) -> UnsafeMutableRawPointer {
    let doubled = storage.map { $0.capacity * 2 } ?? initialCapacity
    let larger = SharedBytes.Storage(
      capacity: min(max(doubled, used + count), limits.maxBatchBytes))
    if let storage { larger.base.copyMemory(from: storage.base, byteCount: used) }
    storage = larger
    return larger.base
  }

  @inline(__always)
  private static func write(
    _ bytes: UnsafeRawBufferPointer?, at next: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer {
    guard let bytes else { return Zigzag.write(-1, at: next) }
    let start = Zigzag.write(Int64(bytes.count), at: next)
    copy(bytes, to: start)
    return start + bytes.count
  }

  @inline(__always)
  private static func copy(_ bytes: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) {
    if let base = bytes.baseAddress { target.copyMemory(from: base, byteCount: bytes.count) }
  }

  private static func withOptionalBytes(
    _ bytes: [UInt8]?, _ body: (UnsafeRawBufferPointer?) throws(BatchError) -> Void
  ) throws(BatchError) {
    guard let bytes else { return try body(nil) }
    try bytes.withBytes { (bytes) throws(BatchError) in try body(bytes) }
  }
}
