import SkeinCore

/// A whole group as it was found in the ring: every header, payload and its commit entry are intact.
struct JournalGroup: Sendable, Hashable {
  var position: Int64
  /// Where the next group may begin, padding included.
  var end: Int64
  var firstSequence: UInt64
  /// That of the commit entry.
  var lastSequence: UInt64
  /// The checksum that the entry before the group must have.
  var previous: UInt32
  /// The checksum of the commit entry's header.
  var checksum: UInt32
  var durableThrough: UInt64
  var run: UInt32
  var runStart: UInt64
  var head: JournalPosition
}

/// One place of the ring, read and checked.
enum JournalRead {
  /// No header of this ring for this place.
  case nothing
  /// The header is intact, what follows it is not.
  case damaged(JournalHeader)
  /// Valid until the reader's next call.
  case intact(JournalHeader, UnsafeRawBufferPointer)
}

/// Reads entries and groups of a ring and checks them; interprets nothing.
struct JournalReader: ~Copyable {
  let id: JournalID
  let geometry: JournalGeometry
  private let verifyBatch: @Sendable (TopicPartition, UnsafeRawBufferPointer) -> Bool
  var window: JournalWindow

  init(
    _ files: JournalFiles, id: JournalID,
    verifyBatch: @escaping @Sendable (TopicPartition, UnsafeRawBufferPointer) -> Bool
  ) {
    self.id = id
    self.geometry = files.geometry
    self.verifyBatch = verifyBatch
    self.window = JournalWindow(files)
  }

  /// The entry at `position`. Only the place in the ring counts here: the lap is in the header.
  mutating func entry(at position: Int64) throws(LogError) -> JournalRead {
    guard let bytes = try window.view(position, JournalFormat.headerSize),
      let header = JournalHeader(bytes, journal: id, at: position, lapLength: geometry.capacity)
    else { return .nothing }
    guard header.isCommit || JournalEntry.Kind(rawValue: header.kind) != nil else {
      throw .invalidFormat(path: "journal", what: "entry of unknown kind \(header.kind) at \(position)")
    }
    let start = position + Int64(JournalFormat.headerSize)
    guard Int64(header.payloadCount) <= geometry.remainder(at: position) - Int64(JournalFormat.headerSize)
    else { return .damaged(header) }
    if header.payloadCount == 0 {
      return header.payloadCRC == 0
        ? .intact(header, UnsafeRawBufferPointer(start: nil, count: 0)) : .damaged(header)
    }
    guard let payload = try window.view(start, header.payloadCount) else { return .damaged(header) }
    let covered = JournalFormat.covered(kind: header.kind, payload.count)
    guard
      CRC32C.checksum(UnsafeRawBufferPointer(rebasing: payload[..<covered])) == header.payloadCRC,
      header.kind != JournalEntry.Kind.batch.rawValue || verifyBatch(header.key, payload)
    else { return .damaged(header) }
    return .intact(header, payload)
  }

  /// The whole group that begins at `place`, or nil.
  mutating func group(at place: Int64) throws(LogError) -> JournalGroup? {
    guard case .intact(let first, let payload) = try entry(at: place), first.groupIndex == 0 else {
      return nil
    }
    var last = first
    var commit = first.isCommit ? JournalCommit(payload) : nil
    var at = first.position + Int64(JournalFormat.headerSize + first.payloadCount)
    while !last.isCommit {
      guard geometry.file(of: at - 1) == geometry.file(of: first.position),
        geometry.remainder(at: at) < geometry.dataSize,
        case .intact(let header, let payload) = try entry(at: at), header.position == at,
        header.follows(last)
      else { return nil }
      last = header
      commit = header.isCommit ? JournalCommit(payload) : nil
      at += Int64(JournalFormat.headerSize + header.payloadCount)
    }
    guard let commit, commit.entryCount == last.groupIndex else { return nil }
    return JournalGroup(
      position: first.position, end: first.position + geometry.roundedUp(at - first.position),
      firstSequence: first.sequence, lastSequence: last.sequence, previous: first.previous,
      checksum: last.checksum, durableThrough: first.durableThrough, run: first.run,
      runStart: commit.runStart, head: commit.head)
  }

  /// Whether somebody began to write the entry that would come next.
  mutating func isBegun(at end: JournalPosition) throws(LogError) -> Bool {
    switch try entry(at: end.offset) {
    case .nothing: false
    case .damaged(let header), .intact(let header, _): header.position == end.offset
    }
  }

  /// Every whole group of the ring, of whatever lap. Groups begin at blocks, so behind damage the
  /// next one is found again.
  mutating func allGroups() throws(LogError) -> [JournalGroup] {
    var found: [JournalGroup] = []
    for file in 0..<geometry.fileCount {
      var place = Int64(file) * geometry.dataSize
      let end = place + geometry.dataSize
      while place < end {
        if let group = try group(at: place) {
          found.append(group)
          place += group.end - group.position
        } else {
          place += geometry.blockSize
        }
      }
    }
    return found
  }
}

extension JournalHeader {
  /// Whether this entry may stand behind `other` in one group.
  func follows(_ other: JournalHeader) -> Bool {
    sequence == other.sequence + 1 && groupIndex == other.groupIndex + 1 && run == other.run
      && durableThrough == other.durableThrough && previous == other.checksum
  }
}
