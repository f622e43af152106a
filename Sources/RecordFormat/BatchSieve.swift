package import SkeinCore

/// What compaction does to stored batches: looks at their keys, and makes smaller copies that keep
/// their place in the log.
///
/// A copy has the base offset, last offset delta, leader epoch, producer id, epoch and sequence of its
/// original, the codec too (but for Snappy, which is only read), and of each kept record every byte
/// but the timestamp delta when a delete horizon is set. Confined to one thread at a time; keeps the
/// memory that it inflates into.
package struct BatchSieve: ~Copyable {
  /// A record in place; valid inside the closure that received it.
  package struct Item {
    package let offset: Int64
    package let key: UnsafeRawBufferPointer?
    /// A key without a value.
    package let isTombstone: Bool
  }

  package enum Outcome {
    /// Nothing to change, or no smaller form of it: keep the original.
    case unchanged(tombstones: Bool)
    /// No record is left.
    case emptied
    case rewritten(SharedBytes, tombstones: Bool)
  }

  private let limits: BatchLimits
  private var reader: BatchReader
  private let deflater = Deflater()
  /// Where the kept records lie in the records' section.
  private var kept: [Range<Int>] = []

  package init(limits: BatchLimits = BatchLimits()) {
    self.limits = limits
    reader = BatchReader(limits: limits)
  }

  /// Calls `body` with every record of a batch whose checksum was verified, until it returns false.
  /// - Parameters:
  ///   - looksAhead: whether `ahead` is called with every key first, for who looks them up in much memory.
  /// - Returns: whether `body` has seen all of them.
  /// - Throws: when the records do not parse to the end; `body` has seen none of them then.
  package mutating func forEach(
    _ batch: UnsafeRawBufferPointer, looksAhead: Bool = false,
    ahead: (UnsafeRawBufferPointer) -> Void = { _ in }, _ body: (Item) -> Bool
  ) throws(BatchError) -> Bool {
    var records = try reader.open(batch, verifyingChecksum: false)
    defer { reader.close() }
    var trial = records
    while let record = try trial.next() {
      if looksAhead, let key = record.key { ahead(key) }
    }
    while let record = try records.next() {
      if !body(Item(record)) { return false }
    }
    return true
  }

  /// The batch without the records that `keep` refuses.
  /// - Parameters:
  ///   - horizon: milliseconds; set as the batch's delete horizon if it has none and a tombstone is kept.
  ///   - looksAhead: as for `forEach`.
  /// - Throws: when the records do not parse.
  package mutating func sift(
    _ batch: UnsafeRawBufferPointer, horizon: Int64?, looksAhead: Bool = false,
    ahead: (UnsafeRawBufferPointer) -> Void = { _ in }, keep: (Item) -> Bool
  ) throws(BatchError) -> Outcome {
    var records = try reader.open(batch, verifyingChecksum: false)
    defer { reader.close() }
    if looksAhead {
      var trial = records
      while let record = try trial.next() {
        if let key = record.key { ahead(key) }
      }
    }
    kept.removeAll(keepingCapacity: true)
    var count: Int32 = 0
    var newest = Int64.min
    var hasTombstone = false
    var start = 0
    while let record = try records.next() {
      let end = records.parser.cursor.position
      let item = Item(record)
      if keep(item) {
        kept.append(start..<end)
        count += 1
        newest = max(newest, record.timestamp)
        hasTombstone = hasTombstone || item.isTombstone
      }
      start = end
    }
    let header = records.header
    if count == 0 && header.recordCount > 0 { return .emptied }
    let marks = header.deleteHorizon == nil && hasTombstone
    let mark = marks ? horizon : nil
    guard count < header.recordCount || mark != nil else { return .unchanged(tombstones: hasTombstone) }
    guard let copy = copy(header, records.parser.cursor.bytes, count, newest, mark),
      copy.count <= max(batch.count, limits.maxBatchBytes)
    else { return .unchanged(tombstones: hasTombstone) }
    return .rewritten(copy, tombstones: hasTombstone)
  }

  /// Nil when a timestamp is too far from the horizon to be stored relative to it.
  private func copy(
    _ original: BatchHeader, _ source: UnsafeRawBufferPointer, _ count: Int32, _ newest: Int64, _ mark: Int64?
  ) -> SharedBytes? {
    var header = original
    header.recordCount = count
    if !header.hasAppendTime { header.maxTimestamp = newest }
    guard let raw = section(source, base: original.baseTimestamp, mark: mark) else { return nil }
    if let mark {
      header.attributes |= BatchHeader.Bits.deleteHorizon
      header.baseTimestamp = mark
    }
    return raw.withUnsafeBytes { raw in
      var payload = raw
      header.attributes &= ~BatchHeader.Bits.codec
      if let codec = original.codec, codec != .none,
        let compressed = deflater.compress(raw, codec: codec), compressed.count < raw.count,
        raw.count <= limits.inflatedLimit(compressed: compressed.count)
      {
        header.attributes |= codec.rawValue
        payload = compressed
      }
      defer { deflater.trim() }
      return Self.seal(&header, payload)
    }
  }

  /// The kept records, one after another.
  private func section(_ source: UnsafeRawBufferPointer, base: Int64, mark: Int64?) -> SharedBytes? {
    // Marking may lengthen each record's timestamp delta and length: at most 10 and 5 bytes.
    let growth = mark == nil ? 0 : 15 * kept.count
    let capacity = kept.reduce(0) { $0 + $1.count } + growth
    let storage = SharedBytes.Storage(capacity: capacity)
    var next = storage.base
    for range in kept {
      let record = UnsafeRawBufferPointer(rebasing: source[range])
      if let mark {
        guard let end = Self.rebase(record, from: base, to: mark, at: next) else { return nil }
        next = end
      } else if let start = record.baseAddress {
        next.copyMemory(from: start, byteCount: record.count)
        next += record.count
      }
    }
    return SharedBytes(storage, offset: 0, count: next - storage.base)
  }

  /// Writes a record with its timestamp relative to another base; nil if that does not fit.
  private static func rebase(
    _ record: UnsafeRawBufferPointer, from base: Int64, to mark: Int64, at target: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer? {
    var cursor = ByteCursor(record)
    // It was parsed before: none of these can fail.
    guard (try? cursor.varint32()) != nil, let attributes = try? cursor.byte(),
      let delta = try? cursor.varint64()
    else { return nil }
    let (difference, overflow) = base.subtractingReportingOverflow(mark)
    let (moved, overflows) = delta.addingReportingOverflow(difference)
    guard !overflow, !overflows else { return nil }
    let rest = UnsafeRawBufferPointer(rebasing: record[cursor.position...])
    var next = Zigzag.write(Int64(1 + Zigzag.size(moved) + rest.count), at: target)
    next.storeBytes(of: attributes, as: UInt8.self)
    next = Zigzag.write(moved, at: next + 1)
    if let start = rest.baseAddress { next.copyMemory(from: start, byteCount: rest.count) }
    return next + rest.count
  }

  // MARK: Empty batches

  /// A batch without records that holds the offsets `base ..< base + lastOffsetDelta + 1`: nothing but
  /// a place in the log. With `producer` it also holds that batch's producer id, epoch and sequence.
  package static func empty(
    base: Int64, lastOffsetDelta: Int32, leaderEpoch: Int32, producer: BatchHeader? = nil
  ) -> SharedBytes {
    var header = BatchHeader(attributes: 0, recordCount: 0, baseTimestamp: 0, maxTimestamp: 0)
    header.baseOffset = base
    header.lastOffsetDelta = lastOffsetDelta
    header.leaderEpoch = leaderEpoch
    if let producer {
      header.producerID = producer.producerID
      header.producerEpoch = producer.producerEpoch
      header.baseSequence = producer.baseSequence
    }
    return seal(&header, UnsafeRawBufferPointer(start: nil, count: 0))
  }

  /// Header and payload as one batch, with length and CRC.
  private static func seal(_ header: inout BatchHeader, _ payload: UnsafeRawBufferPointer) -> SharedBytes {
    let count = BatchHeader.size + payload.count
    let batch = SharedBytes(SharedBytes.Storage(capacity: count), offset: 0, count: count)
    header.batchLength = Int32(clamping: count - BatchHeader.lengthOverhead)
    batch.withUnsafeMutableBytesBeforeSharing { bytes in
      if let start = payload.baseAddress, let base = bytes.baseAddress {
        (base + BatchHeader.size).copyMemory(from: start, byteCount: payload.count)
      }
      header.encode(into: bytes)
      header.crc = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[BatchHeader.checksumStart...]))
      header.encode(into: bytes)
    }
    return batch
  }
}

extension BatchSieve.Item {
  fileprivate init(_ record: RecordView) {
    offset = record.offset
    key = record.key
    isTombstone = record.key != nil && record.value == nil
  }
}

extension BatchHeader {
  /// When the batch's tombstones may go, in milliseconds of the broker's clock: set when the cleaner
  /// first passed them.
  package var deleteHorizon: Int64? { attributes & Bits.deleteHorizon != 0 ? baseTimestamp : nil }
}
