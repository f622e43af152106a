/// Which records of one partition were processed: everything below `processed`, and ranges beyond it. Offsets that hold
/// no record (control batches, what compaction took away) are told as `hole`, so that they hold nothing up.
///
/// Bounded: `maximumGaps` ranges of acknowledgements; holes may take as many again.
struct AckTracker {
  static let maximumGaps = 10_000
  static let maximumRanges = 2 * maximumGaps

  /// The offset to commit.
  private(set) var processed: Int64
  /// In order, not empty, none touches another or `processed`.
  private var ranges: [Range<Int64>] = []
  /// Somebody acknowledges here. Until then holes may be forgotten, because a commit says more.
  private(set) var isUsed = false
  /// Holes below this were forgotten: acknowledgements count again when a commit is past it.
  private var unknownBelow: Int64 = 0

  /// - Parameter unknownBelow: records were sent without a look at holes, up to there.
  init(processed: Int64, unknownBelow: Int64 = 0) {
    self.processed = processed
    self.unknownBelow = unknownBelow
  }

  var gaps: Int { ranges.count }

  /// No more should be sent before some of it is acknowledged.
  var isFull: Bool { isUsed && ranges.count >= Self.maximumRanges }

  /// Whether all holes are known; else what is to be committed cannot be said.
  var isExact: Bool { processed >= unknownBelow }

  /// Takes an acknowledgement. What was acknowledged before, or committed, may come again.
  /// - Returns: false, and nothing is taken, when there would be too many gaps, or holes were forgotten.
  mutating func acknowledge(_ range: Range<Int64>) -> Bool {
    isUsed = true
    guard isExact else { return false }
    return insert(range, limit: Self.maximumGaps)
  }

  /// There is no record at these offsets.
  mutating func hole(_ range: Range<Int64>) {
    if insert(range, limit: Self.maximumRanges) || isUsed { return }
    unknownBelow = max(unknownBelow, range.upperBound)
    ranges = []
  }

  /// Everything below was committed.
  mutating func commit(_ offset: Int64) {
    guard offset > processed else { return }
    processed = offset
    absorb()
  }

  /// Goes on elsewhere: what was acknowledged counts no more.
  mutating func restart(at offset: Int64) {
    processed = offset
    ranges = []
    unknownBelow = 0
  }

  private mutating func insert(_ range: Range<Int64>, limit: Int) -> Bool {
    var (low, high) = (max(range.lowerBound, processed), range.upperBound)
    guard low < high else { return true }
    if low == processed {
      processed = high
      absorb()
      return true
    }
    // The ranges that touch it become one with it.
    let first = firstIndex { $0.upperBound >= low }
    var end = first
    while end < ranges.count, ranges[end].lowerBound <= high {
      low = min(low, ranges[end].lowerBound)
      high = max(high, ranges[end].upperBound)
      end += 1
    }
    guard end > first || ranges.count < limit else { return false }
    if end == first + 1 {
      ranges[first] = low..<high
    } else {
      ranges.replaceSubrange(first..<end, with: CollectionOfOne(low..<high))
    }
    return true
  }

  private mutating func absorb() {
    var count = 0
    while count < ranges.count, ranges[count].lowerBound <= processed {
      processed = max(processed, ranges[count].upperBound)
      count += 1
    }
    if count > 0 { ranges.removeSubrange(..<count) }
  }

  private func firstIndex(where isBehind: (Range<Int64>) -> Bool) -> Int {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if isBehind(ranges[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
