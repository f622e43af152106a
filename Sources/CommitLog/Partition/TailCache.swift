internal import RecordFormat
internal import SkeinCore

/// What the log must know of a batch, wherever its bytes are.
struct BatchFacts: Sendable {
  var base: Int64
  /// Exclusive.
  var end: Int64
  var epoch: Int32
  /// The broker's clock, monotonic per partition, in milliseconds.
  var appendTime: Int64
  /// The highest record timestamp, in milliseconds.
  var maxTimestamp: Int64
  var producer: ProducerStamp?
  /// Frame and batch.
  var byteCount: Int
}

/// One appended batch in memory: what goes to journal and segment, and what readers get.
struct TailEntry: Sendable {
  var facts: BatchFacts
  var frame: SharedBytes
  var batch: SharedBytes

  var base: Int64 { facts.base }
  var end: Int64 { facts.end }
  var byteCount: Int { facts.byteCount }
}

/// The newest batches of a partition, contiguous up to its end. Batches leave it only after they
/// were written behind; until then it is their only copy besides the journal.
///
/// A value type; threading: guarded by the partition's mutex.
struct TailCache: Sendable {
  private var entries: [TailEntry] = []
  /// Index of the first entry that is not in a segment yet.
  private var written = 0

  /// Offset from which reads are served from memory; nil when nothing is cached.
  var start: Int64? { entries.first?.base }
  /// The log's end; nil when nothing is cached.
  var end: Int64? { entries.last?.end }
  var hasUnwritten: Bool { written < entries.count }

  /// Bytes that are not in a segment yet.
  private(set) var unwrittenBytes = 0

  mutating func append(_ entry: TailEntry) {
    entries.append(entry)
    unwrittenBytes += entry.byteCount
  }

  /// Whole batches from the one that holds `from`, ending at or below `limit`, up to `maxBytes`
  /// but at least one; nil when `from` lies before what is cached.
  func read(from: Int64, limit: Int64, maxBytes: Int) -> [TailEntry]? {
    guard let start, from >= start else { return nil }
    var index = firstIndex { $0.end > from }
    var bytes = 0
    var found: [TailEntry] = []
    while index < entries.count, entries[index].end <= limit {
      let size = entries[index].batch.count
      if !found.isEmpty && bytes + size > maxBytes { break }
      bytes += size
      found.append(entries[index])
      index += 1
    }
    return found
  }

  /// The next entries to write behind, ending at or below `durableEnd`; at least one if there is any.
  func nextRun(durableEnd: Int64, maxBytes: Int) -> ArraySlice<TailEntry> {
    var index = written
    var bytes = 0
    while index < entries.count, entries[index].end <= durableEnd {
      let size = entries[index].byteCount
      if index > written && bytes + size > maxBytes { break }
      bytes += size
      index += 1
    }
    return entries[written..<index]
  }

  /// The next `count` entries are in a segment now; returns their bytes.
  mutating func markWritten(count: Int) -> Int {
    let bytes = entries[written..<written + count].reduce(0) { $0 + $1.byteCount }
    unwrittenBytes -= bytes
    written += count
    return bytes
  }

  /// Drops written entries that end at or below `end`; returns their bytes.
  mutating func evict(through end: Int64) -> Int {
    let count = min(written, firstIndex { $0.end > end })
    let bytes = entries[..<count].reduce(0) { $0 + $1.byteCount }
    entries.removeFirst(count)
    written -= count
    return bytes
  }

  /// Drops everything, as the partition is deleted; returns (all bytes, unwritten bytes).
  mutating func removeAll() -> (all: Int, unwritten: Int) {
    let removed = (entries.reduce(0) { $0 + $1.byteCount }, unwrittenBytes)
    self = TailCache()
    return removed
  }

  /// The first batch at or after `from` and below `limit` with a record at or after `timestamp`.
  func first(timestampAtLeast timestamp: Int64, from: Int64, limit: Int64) -> TailEntry? {
    entries.first { $0.end > from && $0.end <= limit && $0.facts.maxTimestamp >= timestamp }
  }

  /// The batch that holds `offset`, or the next one, if none below it has left the cache.
  func entry(from offset: Int64) -> TailEntry? {
    guard let start, offset >= start else { return nil }
    let index = firstIndex { $0.end > offset }
    return index < entries.count ? entries[index] : nil
  }

  private func firstIndex(_ matches: (TailEntry) -> Bool) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if matches(entries[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
