import SkeinCore

/// Part of a group that stands in one file of the ring, with a commit entry of its own.
struct JournalPiece {
  /// Which entries of the group.
  var entries: Range<Int>
  /// Where it begins in the stream.
  var position: Int64
  /// Bytes before padding, the commit entry included.
  var size: Int
  /// Where the next piece may begin.
  var end: Int64
  /// The partitions of the piece, in the order of their first entry.
  var rows: [JournalCommit.Row]

  /// Parts up to this size are copied next to the header: an element of the vector costs more.
  static let copyLimit = 256

  /// Cuts a group so that each piece ends in the file in which it begins. Whatever still fits into
  /// the current file goes there, so that at most one entry's length is left unused at its end.
  static func plan(
    _ group: [JournalEntry], from tail: Int64, geometry: JournalGeometry
  ) throws(LogError) -> [JournalPiece] {
    var pieces: [JournalPiece] = []
    var next = 0
    var tail = tail
    while next < group.count {
      var piece = fill(group, from: next, limit: geometry.remainder(at: tail))
      if piece.entries.isEmpty {
        tail += geometry.remainder(at: tail)
        piece = fill(group, from: next, limit: geometry.dataSize)
      }
      guard !piece.entries.isEmpty else {
        let overhead = Int64(2 * JournalFormat.headerSize + JournalCommit.size(rows: 1))
        throw .entryTooLarge(
          size: Int64(group[next].payloadCount), limit: geometry.dataSize - overhead)
      }
      piece.position = tail
      piece.end = tail + geometry.roundedUp(Int64(piece.size))
      tail = piece.end
      next = piece.entries.upperBound
      pieces.append(piece)
    }
    return pieces
  }

  /// As many entries as fit into `limit` bytes with their commit entry.
  private static func fill(_ group: [JournalEntry], from first: Int, limit: Int64) -> JournalPiece {
    var rows: [JournalCommit.Row] = []
    var places: [TopicPartition: Int] = [:]
    var bytes = 0
    var next = first
    while next < group.count {
      let entry = group[next]
      let known = places[entry.key]
      let grown = bytes + JournalFormat.headerSize + entry.payloadCount
      let commit = JournalFormat.headerSize + JournalCommit.size(rows: rows.count + (known == nil ? 1 : 0))
      if Int64(grown + commit) > limit { break }
      bytes = grown
      if let known {
        rows[known].entries += 1
        rows[known].endOffset = entry.endOffset
      } else {
        places[entry.key] = rows.count
        rows.append(JournalCommit.Row(key: entry.key, entries: 1, endOffset: entry.endOffset))
      }
      next += 1
    }
    let size = bytes + JournalFormat.headerSize + JournalCommit.size(rows: rows.count)
    return JournalPiece(entries: first..<next, position: 0, size: size, end: 0, rows: rows)
  }

  /// Bytes for headers, small parts, the commit entry and padding.
  func scratchSize(of group: [JournalEntry], _ geometry: JournalGeometry) -> Int {
    var total = JournalFormat.headerSize + JournalCommit.size(rows: rows.count) + Int(geometry.blockSize)
    for index in entries {
      total += JournalFormat.headerSize
      for part in group[index].parts where part.count <= Self.copyLimit { total += part.count }
    }
    return total
  }
}

/// Lays out one piece: headers, small parts and padding in scratch memory, large parts where they are.
struct JournalEncoder {
  /// What to write, in order. Valid while the scratch memory and the entries live.
  private(set) var parts: [UnsafeRawBufferPointer] = []
  private(set) var position: Int64
  private(set) var sequence: UInt64
  private(set) var previous: UInt32

  private let scratch: UnsafeMutableRawBufferPointer
  private let id: JournalID
  private let run: UInt32
  private let durableThrough: UInt64
  private var groupIndex: UInt32 = 0
  /// Scratch bytes used, and those of them that `parts` does not hold yet.
  private var used = 0
  private var pending = 0

  init(
    scratch: UnsafeMutableRawBufferPointer, id: JournalID, run: UInt32, position: Int64,
    sequence: UInt64, durableThrough: UInt64, previous: UInt32
  ) {
    self.scratch = scratch
    self.id = id
    self.run = run
    self.position = position
    self.sequence = sequence
    self.durableThrough = durableThrough
    self.previous = previous
  }

  mutating func append(_ entry: JournalEntry) {
    let count = entry.payloadCount
    let covered = JournalFormat.covered(kind: entry.kind.rawValue, count)
    appendHeader(
      kind: entry.kind.rawValue, payloadCount: count, payloadCRC: checksum(of: entry.parts, covered),
      key: entry.key, endOffset: entry.endOffset)
    for part in entry.parts where !part.isEmpty {
      let bytes = UnsafeRawBufferPointer(start: part.storage.base + part.offset, count: part.count)
      if part.count <= JournalPiece.copyLimit {
        scratch[used..<used + part.count].copyBytes(from: bytes)
        advance(part.count)
      } else {
        flush()
        parts.append(bytes)
        position += Int64(part.count)
      }
    }
  }

  mutating func finish(_ commit: JournalCommit) {
    let size = JournalCommit.size(rows: commit.rows.count)
    let at = used + JournalFormat.headerSize
    let payload = UnsafeMutableRawBufferPointer(rebasing: scratch[at..<at + size])
    commit.encode(into: payload)
    appendHeader(
      kind: JournalFormat.commitKind, payloadCount: size,
      payloadCRC: CRC32C.checksum(UnsafeRawBufferPointer(payload)),
      key: TopicPartition(topic: TopicID(high: 0, low: 0), partition: 0), endOffset: 0)
    advance(size)
  }

  /// Zeroes up to the next block, so that the next group begins in one of its own.
  mutating func pad(to blockSize: Int64) {
    let count = Int((blockSize - position % blockSize) % blockSize)
    if count > 0 {
      UnsafeMutableRawBufferPointer(rebasing: scratch[used..<used + count])
        .initializeMemory(as: UInt8.self, repeating: 0)
      advance(count)
    }
    flush()
  }

  private mutating func appendHeader(
    kind: UInt8, payloadCount: Int, payloadCRC: UInt32, key: TopicPartition, endOffset: Int64
  ) {
    sequence += 1
    var header = JournalHeader(
      kind: kind, payloadCount: payloadCount, payloadCRC: payloadCRC, previous: previous, journal: id,
      position: position, sequence: sequence, durableThrough: durableThrough, run: run,
      groupIndex: groupIndex, key: key, endOffset: endOffset)
    let size = JournalFormat.headerSize
    header.encode(into: UnsafeMutableRawBufferPointer(rebasing: scratch[used..<used + size]))
    previous = header.checksum
    groupIndex += 1
    advance(size)
  }

  private mutating func advance(_ count: Int) {
    used += count
    pending += count
    position += Int64(count)
  }

  private mutating func flush() {
    guard pending > 0 else { return }
    parts.append(UnsafeRawBufferPointer(rebasing: scratch[used - pending..<used]))
    pending = 0
  }

  private func checksum(of parts: [SharedBytes], _ limit: Int) -> UInt32 {
    var crc: UInt32 = 0
    var left = limit
    for part in parts where left > 0 {
      let count = min(left, part.count)
      part.withUnsafeBytes {
        crc = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[..<count]), seed: crc)
      }
      left -= count
    }
    return crc
  }
}
