import SkeinCore

/// The bytes of the journal (Docs/formats/journal.md). All integers are little-endian.
enum JournalFormat {
  static let version: UInt8 = 1
  /// "SKNJ"
  static let entryMagic: UInt32 = 0x4A4E_4B53
  /// "SKNRING1"
  static let fileMagic: UInt64 = 0x3147_4E49_524E_4B53
  static let headerSize = 104
  static let commitKind: UInt8 = 16
  static let commitFixedSize = 32
  static let commitRowSize = 32
  /// Leading payload bytes of a batch entry that the journal's own checksum covers: the frame and the
  /// batch's header, which name the rest by its CRC.
  static let batchCover = 128

  static func covered(kind: UInt8, _ payloadCount: Int) -> Int {
    kind == JournalEntry.Kind.batch.rawValue ? min(batchCover, payloadCount) : payloadCount
  }

  static func fileName(_ index: Int) -> String {
    let digits = String(index)
    return "ring-" + String(repeating: "0", count: max(0, 3 - digits.count)) + digits
  }
}

/// Names one ring for ever; drawn at random, so no client can forge an entry inside a payload.
struct JournalID: Sendable, Hashable {
  var high: UInt64
  var low: UInt64
}

/// The 104 bytes before each payload.
struct JournalHeader: Sendable, Hashable {
  var kind: UInt8
  var payloadCount: Int
  var payloadCRC: UInt32
  /// The header checksum of the entry before it: the chain.
  var previous: UInt32
  var journal: JournalID
  /// Where this entry stands in the stream; holds the lap and catches misdirected writes.
  var position: Int64
  var sequence: UInt64
  /// The last sequence number known to be synced when this entry was written.
  var durableThrough: UInt64
  /// Counts the openings of the ring, so that entries cut by one never join those of the next.
  var run: UInt32
  /// Place in the group, 0 for its first entry.
  var groupIndex: UInt32
  var key: TopicPartition
  var endOffset: Int64

  /// The checksum that `encode` stored or `init` found: what the next entry's `previous` must be.
  private(set) var checksum: UInt32 = 0

  init(
    kind: UInt8, payloadCount: Int, payloadCRC: UInt32, previous: UInt32, journal: JournalID,
    position: Int64, sequence: UInt64, durableThrough: UInt64, run: UInt32, groupIndex: UInt32,
    key: TopicPartition, endOffset: Int64
  ) {
    self.kind = kind
    self.payloadCount = payloadCount
    self.payloadCRC = payloadCRC
    self.previous = previous
    self.journal = journal
    self.position = position
    self.sequence = sequence
    self.durableThrough = durableThrough
    self.run = run
    self.groupIndex = groupIndex
    self.key = key
    self.endOffset = endOffset
  }

  var isCommit: Bool { kind == JournalFormat.commitKind }

  /// Writes the header to the first 104 bytes of `out` and remembers its checksum.
  mutating func encode(into out: UnsafeMutableRawBufferPointer) {
    out.put(JournalFormat.entryMagic, at: 4)
    out.put(JournalFormat.version, at: 8)
    out.put(kind, at: 9)
    out.put(UInt16(0), at: 10)
    out.put(UInt32(payloadCount), at: 12)
    out.put(payloadCRC, at: 16)
    out.put(previous, at: 20)
    out.put(journal.high, at: 24)
    out.put(journal.low, at: 32)
    out.put(position, at: 40)
    out.put(sequence, at: 48)
    out.put(durableThrough, at: 56)
    out.put(run, at: 64)
    out.put(groupIndex, at: 68)
    out.put(key.topic.high, at: 72)
    out.put(key.topic.low, at: 80)
    out.put(key.partition, at: 88)
    out.put(UInt32(0), at: 92)
    out.put(endOffset, at: 96)
    checksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: out[4..<JournalFormat.headerSize]))
    out.put(checksum, at: 0)
  }

  /// Nil unless the bytes are an intact header of this ring, written for this place and known to this
  /// version.
  init?(
    _ bytes: UnsafeRawBufferPointer, journal: JournalID, at position: Int64, lapLength: Int64
  ) {
    guard bytes.count >= JournalFormat.headerSize,
      bytes.get(UInt32.self, at: 4) == JournalFormat.entryMagic,
      bytes.get(UInt64.self, at: 24) == journal.high, bytes.get(UInt64.self, at: 32) == journal.low,
      bytes.get(UInt32.self, at: 0)
        == CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[4..<JournalFormat.headerSize]))
    else { return nil }
    // The checksum holds: from here on the numbers are what a writer of ours meant.
    self.init(
      kind: bytes[9], payloadCount: Int(bytes.get(UInt32.self, at: 12)),
      payloadCRC: bytes.get(UInt32.self, at: 16), previous: bytes.get(UInt32.self, at: 20),
      journal: journal, position: bytes.get(Int64.self, at: 40),
      sequence: bytes.get(UInt64.self, at: 48), durableThrough: bytes.get(UInt64.self, at: 56),
      run: bytes.get(UInt32.self, at: 64), groupIndex: bytes.get(UInt32.self, at: 68),
      key: TopicPartition(
        topic: TopicID(high: bytes.get(UInt64.self, at: 72), low: bytes.get(UInt64.self, at: 80)),
        partition: bytes.get(Int32.self, at: 88)),
      endOffset: bytes.get(Int64.self, at: 96))
    checksum = bytes.get(UInt32.self, at: 0)
    let limit = Int64(1) << 62  // far beyond any disk; keeps later sums from overflowing
    guard bytes[8] == JournalFormat.version, (0..<limit).contains(self.position),
      sequence < UInt64(limit), durableThrough < UInt64(limit), run < UInt32.max,
      self.position % lapLength == position % lapLength
    else { return nil }
  }
}

/// The payload of the entry that ends each group: the ring's head, and each partition of the group
/// with the number of its entries and its new end, so that a damaged entry still tells whose it was.
struct JournalCommit: Sendable, Hashable {
  struct Row: Sendable, Hashable {
    var key: TopicPartition
    var entries: UInt32
    var endOffset: Int64
  }

  /// The oldest place that recovery needs.
  var head: JournalPosition
  /// The first sequence number of the run: entries of earlier runs from there on were cut.
  var runStart: UInt64
  /// Entries of the group, this one not counted.
  var entryCount: UInt32
  var rows: [Row]

  static func size(rows: Int) -> Int {
    JournalFormat.commitFixedSize + rows * JournalFormat.commitRowSize
  }

  func encode(into out: UnsafeMutableRawBufferPointer) {
    out.put(head.offset, at: 0)
    out.put(head.sequence, at: 8)
    out.put(runStart, at: 16)
    out.put(entryCount, at: 24)
    out.put(UInt32(rows.count), at: 28)
    var at = JournalFormat.commitFixedSize
    for row in rows {
      out.put(row.key.topic.high, at: at)
      out.put(row.key.topic.low, at: at + 8)
      out.put(row.key.partition, at: at + 16)
      out.put(row.entries, at: at + 20)
      out.put(row.endOffset, at: at + 24)
      at += JournalFormat.commitRowSize
    }
  }

  init(head: JournalPosition, runStart: UInt64, entryCount: UInt32, rows: [Row]) {
    self.head = head
    self.runStart = runStart
    self.entryCount = entryCount
    self.rows = rows
  }

  /// Nil unless the length agrees with the number of rows.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= JournalFormat.commitFixedSize else { return nil }
    let count = Int(bytes.get(UInt32.self, at: 28))
    guard bytes.count == Self.size(rows: count) else { return nil }
    self.init(
      head: JournalPosition(
        offset: bytes.get(Int64.self, at: 0), sequence: bytes.get(UInt64.self, at: 8)),
      runStart: bytes.get(UInt64.self, at: 16), entryCount: bytes.get(UInt32.self, at: 24), rows: [])
    guard (0..<Int64(1) << 62).contains(head.offset), head.sequence < 1 << 62 else { return nil }
    rows.reserveCapacity(count)
    for index in 0..<count {
      let at = JournalFormat.commitFixedSize + index * JournalFormat.commitRowSize
      rows.append(
        Row(
          key: TopicPartition(
            topic: TopicID(high: bytes.get(UInt64.self, at: at), low: bytes.get(UInt64.self, at: at + 8)),
            partition: bytes.get(Int32.self, at: at + 16)),
          entries: bytes.get(UInt32.self, at: at + 20), endOffset: bytes.get(Int64.self, at: at + 24)))
    }
  }
}

/// The identity at the start of each file of the ring.
struct JournalFileIdentity: Sendable, Hashable {
  static let size = 64

  var journal: JournalID
  var geometry: JournalGeometry
  var index: Int

  func encode(into out: UnsafeMutableRawBufferPointer) {
    out.put(JournalFormat.fileMagic, at: 0)
    out.put(UInt32(JournalFormat.version), at: 8)
    out.put(UInt32(index), at: 12)
    out.put(journal.high, at: 16)
    out.put(journal.low, at: 24)
    out.put(geometry.fileSize, at: 32)
    out.put(UInt32(geometry.fileCount), at: 40)
    out.put(UInt32(geometry.blockSize), at: 44)
    for at in stride(from: 48, to: 60, by: 4) { out.put(UInt32(0), at: at) }
    out.put(CRC32C.checksum(UnsafeRawBufferPointer(rebasing: out[0..<60])), at: 60)
  }

  /// Nil for a damaged or absent identity; throws for one of a later version.
  init?(_ bytes: UnsafeRawBufferPointer, path: String) throws(LogError) {
    guard bytes.count >= Self.size, bytes.get(UInt64.self, at: 0) == JournalFormat.fileMagic,
      bytes.get(UInt32.self, at: 60)
        == CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[0..<60]))
    else { return nil }
    let version = bytes.get(UInt32.self, at: 8)
    guard version == UInt32(JournalFormat.version) else {
      throw .invalidFormat(
        path: path, what: "journal format \(version); this broker knows \(JournalFormat.version)")
    }
    guard
      let geometry = JournalGeometry(
        fileSize: bytes.get(Int64.self, at: 32), fileCount: Int(bytes.get(UInt32.self, at: 40)),
        blockSize: Int64(bytes.get(UInt32.self, at: 44)))
    else { return nil }
    self.init(
      journal: JournalID(high: bytes.get(UInt64.self, at: 16), low: bytes.get(UInt64.self, at: 24)),
      geometry: geometry, index: Int(bytes.get(UInt32.self, at: 12)))
  }

  init(journal: JournalID, geometry: JournalGeometry, index: Int) {
    self.journal = journal
    self.geometry = geometry
    self.index = index
  }
}

extension UnsafeMutableRawBufferPointer {
  fileprivate func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func get<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }
}
