package import SkeinCore

/// Durable entries that recovery could not read (R52).
package struct JournalCorruption: Sendable, Hashable {
  package enum Loss: Sendable, Hashable {
    /// Entries of this partition are missing; it must not be served.
    case partition(TopicPartition)
    /// Entries are missing and nothing says whose: any partition may be concerned.
    case unknown
    /// Only a commit entry or padding was damaged; every entry is there.
    case nothing
  }

  package var loss: Loss
  /// Between which places of the journal's stream.
  package var places: Range<Int64>
  package var sequences: Range<UInt64>

  package init(loss: Loss, places: Range<Int64>, sequences: Range<UInt64>) {
    self.loss = loss
    self.places = places
    self.sequences = sequences
  }
}

/// Finds what can still be read inside a hole, and whose the rest was.
struct JournalSalvage: Sendable {
  /// Places of intact data entries, in order.
  private(set) var intact: [Int64] = []
  private(set) var corruptions: [JournalCorruption] = []

  private struct Found {
    var header: JournalHeader
    var isIntact: Bool
  }

  /// - Throws: `.offline` when the ring cannot be read.
  init(_ hole: JournalChain.Hole, _ runs: JournalRuns, _ reader: inout JournalReader) throws(LogError) {
    var found: [Found] = []
    var commits: [(sequence: UInt64, commit: JournalCommit)] = []
    var place = hole.places.lowerBound
    var nextSequence = hole.sequences.lowerBound
    while let candidate = try Self.nextMagic(from: place, to: hole.places.upperBound, &reader) {
      place = candidate + 1
      let read = try reader.entry(at: candidate)
      let header: JournalHeader
      var commit: JournalCommit?
      var isIntact = false
      switch read {
      case .nothing: continue
      case .damaged(let damaged): header = damaged
      case .intact(let whole, let payload):
        header = whole
        isIntact = true
        commit = whole.isCommit ? JournalCommit(payload) : nil
      }
      // An older lap or what an opening cut off does not count.
      guard header.position == candidate, !runs.isCut(run: header.run, sequence: header.sequence),
        header.sequence >= nextSequence, header.sequence < hole.sequences.upperBound
      else { continue }
      if let commit { commits.append((header.sequence, commit)) }
      found.append(Found(header: header, isIntact: isIntact))
      if isIntact && !header.isCommit { intact.append(candidate) }
      nextSequence = header.sequence + 1
      place = candidate + Int64(JournalFormat.headerSize + header.payloadCount)
    }
    attribute(hole, found, commits)
  }

  /// Where the next header may begin: 4 bytes before the entry magic.
  private static func nextMagic(
    from start: Int64, to end: Int64, _ reader: inout JournalReader
  ) throws(LogError) -> Int64? {
    let magic = withUnsafeBytes(of: JournalFormat.entryMagic.littleEndian) { Array($0) }
    var place = start
    while place + Int64(JournalFormat.headerSize) <= end {
      let length = Int(min(end - place, reader.geometry.remainder(at: place), 64 << 10))
      guard let bytes = try reader.window.view(place, length) else { return nil }
      var index = 0
      while index + 8 <= length {
        if bytes[index + 4] == magic[0], bytes[index + 5] == magic[1], bytes[index + 6] == magic[2],
          bytes[index + 7] == magic[3]
        {
          return place + Int64(index)
        }
        index += 1
      }
      // The last seven bytes may begin a header that goes on behind the view, but not behind the file.
      let atFileEnd = Int64(length) == reader.geometry.remainder(at: place)
      place += Int64(atFileEnd || length < 8 ? length : length - 7)
    }
    return nil
  }

  private mutating func attribute(
    _ hole: JournalChain.Hole, _ found: [Found], _ commits: [(sequence: UInt64, commit: JournalCommit)]
  ) {
    var lost: Set<TopicPartition> = []
    for item in found where !item.isIntact && !item.header.isCommit { lost.insert(item.header.key) }

    var explained: [Range<UInt64>] = []
    for (sequence, commit) in commits {
      let first = sequence - min(sequence, UInt64(commit.entryCount))
      explained.append(first..<sequence)
      // Its group may begin before the hole only if the hole is that group's: groups are found whole.
      var seen: [TopicPartition: UInt32] = [:]
      for item in found where item.header.sequence >= first && item.header.sequence < sequence {
        seen[item.header.key, default: 0] += 1
      }
      for row in commit.rows where seen[row.key, default: 0] < row.entries { lost.insert(row.key) }
    }

    let unknown = Self.hasUnexplained(hole, found, explained)
    let losses: [JournalCorruption.Loss] =
      lost.sorted().map { .partition($0) } + (unknown ? [.unknown] : [])
    for loss in losses.isEmpty ? [.nothing] : losses {
      corruptions.append(
        JournalCorruption(loss: loss, places: hole.places, sequences: hole.sequences))
    }
  }

  /// Whether some missing sequence number is neither in a group whose commit entry was read nor a
  /// commit entry itself, which the first entry of the next group tells.
  private static func hasUnexplained(
    _ hole: JournalChain.Hole, _ found: [Found], _ explained: [Range<UInt64>]
  ) -> Bool {
    var next = hole.sequences.lowerBound
    var found = found.makeIterator()
    while next < hole.sequences.upperBound {
      let item = found.next()
      let stop = item?.header.sequence ?? hole.sequences.upperBound
      // The group behind the hole begins with its first entry, and so does any found with index 0.
      let startsGroup = item.map { $0.header.groupIndex == 0 } ?? true
      for sequence in next..<stop where !explained.contains(where: { $0.contains(sequence) }) {
        if sequence + 1 == stop && startsGroup { continue }
        return true
      }
      next = stop + 1
    }
    return false
  }
}
