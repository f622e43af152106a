/// One segment of a partition: which offsets it holds and how far its file is filled.
///
/// Only its content `0 ..< size` counts; a file may be longer (allocated ahead, or recycled with an
/// older life's bytes behind the content). A value type in the partition's segment table.
struct Segment: Sendable, Equatable {
  /// Offset of the first record; names the file.
  let base: Int64
  /// Exclusive end. A following segment may begin later: the gap was lost and the loss accepted.
  var end: Int64
  /// Content bytes: frames and batches, one after another.
  var size: Int64 = 0
  /// Append times of the first batch and the latest, in milliseconds.
  var firstAppendTime: Int64 = 0
  var lastAppendTime: Int64 = 0
  /// The highest record timestamp, in milliseconds; `Int64.min` while empty.
  var maxTimestamp: Int64 = .min
  var isSealed = false
  /// How often the cleaner has rewritten it, as far as its name must differ; 0 = as it was written
  /// behind. Part of the file's name.
  var generation: UInt32 = 0
  /// The latest delete horizon of its tombstones, in milliseconds of the broker's clock: then all of
  /// them may go. `Int64.min` without any that the cleaner has passed.
  var tombstonesUntil: Int64 = .min
  /// Of an active segment; sealed ones have theirs in a file and in the index cache.
  var index: SegmentIndex?

  init(base: Int64, generation: UInt32 = 0) {
    self.base = base
    self.generation = generation
    self.end = base
    self.index = SegmentIndex()
  }

  /// The same file, whatever has become of its content.
  func isSameFile(as other: Segment) -> Bool { base == other.base && generation == other.generation }

  /// Takes in the batch that was written at `size`.
  mutating func note(_ entry: BatchFacts) {
    index?.note(relativeOffset: entry.base - base, position: size, maxTimestampBefore: maxTimestamp)
    if size == 0 { firstAppendTime = entry.appendTime }
    lastAppendTime = max(lastAppendTime, entry.appendTime)
    maxTimestamp = max(maxTimestamp, entry.maxTimestamp)
    size += Int64(entry.byteCount)
    end = entry.end
  }
}

/// Lookups in a partition's ascending segment table.
extension [Segment] {
  /// The last segment that begins at or before `offset`, else the first one.
  func position(covering offset: Int64) -> Int? {
    guard !isEmpty else { return nil }
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if self[middle].base <= offset { low = middle + 1 } else { high = middle }
    }
    return Swift.max(low - 1, 0)
  }
}
