package import SkeinCore

/// The sparse index of one segment: offset, position and the highest record timestamp so far, one
/// entry about every `interval` bytes. It serves lookups by offset and by time.
///
/// It is a cache, rebuildable from the frames and never trusted over them (R54): a reader verifies
/// what it finds at the position that the index gave. A value type; threading: its owner's.
package struct SegmentIndex: Sendable, Equatable {
  /// Segment bytes between two entries, about.
  package static let interval: Int64 = 16 * 1024

  package struct Entry: Sendable, Equatable {
    /// Base offset of a batch, relative to the segment's.
    package var relativeOffset: UInt32
    /// Where its frame begins in the file. Segments stay below 4 GiB.
    package var position: UInt32
    /// The highest record timestamp of all batches before this one, in milliseconds.
    package var maxTimestampBefore: Int64
  }

  /// Bytes at the beginning of the segment that were not seen yet (after a restart the index of
  /// an active segment begins where the writer went on; a reader fills in the rest when needed).
  package var coversFrom: Int64
  package private(set) var entries: [Entry] = []
  private var nextPosition: Int64

  package init(coversFrom: Int64 = 0) {
    self.coversFrom = coversFrom
    self.nextPosition = coversFrom
  }

  package var isComplete: Bool { coversFrom == 0 }
  package var byteCount: Int { entries.count * MemoryLayout<Entry>.stride }

  /// Notes a batch; makes an entry when enough bytes have passed since the last one.
  package mutating func note(relativeOffset: Int64, position: Int64, maxTimestampBefore: Int64) {
    guard position >= nextPosition, let relative = UInt32(exactly: relativeOffset),
      let place = UInt32(exactly: position)
    else { return }
    entries.append(
      Entry(relativeOffset: relative, position: place, maxTimestampBefore: maxTimestampBefore))
    nextPosition = position + Self.interval
  }

  /// Puts the scanned beginning of the segment before what the writer has noted since.
  package mutating func fillBeginning(with beginning: SegmentIndex) {
    guard beginning.isComplete, !isComplete else { return }
    entries = beginning.entries.filter { Int64($0.position) < coversFrom } + entries
    coversFrom = 0
  }

  /// Where to start reading for `relativeOffset`: the last entry at or before it; the segment's
  /// beginning if there is none; nil if only the missing beginning can know.
  package func position(of relativeOffset: Int64) -> Int64? {
    let count = partitioningPoint { Int64($0.relativeOffset) <= relativeOffset }
    if count > 0 { return Int64(entries[count - 1].position) }
    return isComplete ? 0 : nil
  }

  /// Where to start looking for the first record at or after `timestamp`: no batch before that
  /// relative offset has one.
  package func relativeOffset(ofTimestamp timestamp: Int64) -> Int64 {
    let count = partitioningPoint { $0.maxTimestampBefore < timestamp }
    return count > 0 ? Int64(entries[count - 1].relativeOffset) : 0
  }

  /// The number of leading entries for which `isBefore` holds.
  private func partitioningPoint(_ isBefore: (Entry) -> Bool) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if isBefore(entries[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

// MARK: The index file (Docs/formats/segment.md)

extension SegmentIndex {
  package static let fileVersion: UInt32 = 1
  private static let magic: UInt32 = 0x534B_4958  // "SKIX"
  private static let headerSize = 40

  /// The file of a complete index of the segment `base ..< end` with `size` content bytes.
  package func encoded(key: TopicPartition, base: Int64, end: Int64, size: Int64) -> [UInt8] {
    var out = ByteWriter(capacity: Self.headerSize + entries.count * 16 + 4)
    out.put(Self.magic)
    out.put(Self.fileVersion)
    out.put(base)
    out.put(end)
    out.put(size)
    out.put(UInt32(entries.count))
    out.put(UInt32(bitPattern: key.partition))
    for entry in entries {
      out.put(entry.relativeOffset)
      out.put(entry.position)
      out.put(entry.maxTimestampBefore)
    }
    out.putChecksum()
    return out.bytes
  }

  /// Nil for anything that is not exactly the index of that segment: it is rebuilt then.
  package init?(
    decoding bytes: [UInt8], key: TopicPartition, base: Int64, end: Int64, size: Int64
  ) {
    guard var input = ByteReader(checked: bytes),
      input.uint32() == Self.magic, input.uint32() == Self.fileVersion,
      input.int64() == base, input.int64() == end, input.int64() == size,
      let count = input.uint32(), input.uint32() == UInt32(bitPattern: key.partition),
      input.remaining == Int(count) * 16
    else { return nil }
    self.init()
    entries.reserveCapacity(Int(count))
    var previous: Entry?
    for _ in 0..<count {
      guard let relative = input.uint32(), let position = input.uint32(), let time = input.int64(),
        Int64(relative) < end - base, Int64(position) < size
      else { return nil }
      if let previous {
        guard relative > previous.relativeOffset, position > previous.position,
          time >= previous.maxTimestampBefore
        else { return nil }
      }
      let entry = Entry(relativeOffset: relative, position: position, maxTimestampBefore: time)
      entries.append(entry)
      previous = entry
    }
    if let last = entries.last { nextPosition = Int64(last.position) + Self.interval }
  }
}
