internal import RecordFormat
package import SkeinCore
internal import Synchronization

/// The search for the first record at or after a time; execute it with `LogDirectory.find` on an
/// I/O thread.
package struct TimestampSearch: Sendable {
  let store: PartitionStore
  /// Milliseconds since 1970.
  let timestamp: Int64
  let from: Int64
  let limit: Int64
}

/// The record that a search found.
package struct TimestampFound: Sendable, Equatable {
  package var offset: Offset
  package var timestamp: Int64
  package var leaderEpoch: LeaderEpoch
}

/// Executes `TimestampSearch`: segments first, then the tail in memory. Threading: any I/O thread.
struct TimestampFinder {
  let shared: DirectoryShared
  let search: TimestampSearch

  private var store: PartitionStore { search.store }

  /// Nil when no committed record is at or after the time.
  func find() throws(Fault) -> TimestampFound? {
    var from = search.from
    while let segment = candidate(from) {
      if let found = try find(in: segment, from: from) { return found }
      from = max(segment.end, from)
    }
    // Segments were searched up to `from`; what is newer is still in memory.
    while let entry = inMemory(from) {
      if let found = try record(in: entry.batch) { return found }
      from = entry.end
    }
    return nil
  }

  private func inMemory(_ from: Int64) -> TailEntry? {
    store.state.withLock {
      $0.tail.first(timestampAtLeast: search.timestamp, from: from, limit: search.limit)
    }
  }

  /// The next segment that may hold such a record.
  private func candidate(_ from: Int64) -> Segment? {
    store.state.withLock { state in
      state.segments.first {
        $0.end > from && $0.base < search.limit && $0.maxTimestamp >= search.timestamp
      }
    }
  }

  private func find(in segment: Segment, from: Int64) throws(Fault) -> TimestampFound? {
    var next = try startOffset(segment, from)
    let reader = SegmentReader(shared: shared, store: store, budget: nil)
    while next < segment.end && next < search.limit {
      let plan = FileRead(store: store, from: next, limit: search.limit, maxBytes: 256 * 1024)
      let result = try reader.read(plan)
      for batch in result.batches {
        if let found = try record(in: batch) { return found }
      }
      guard result.next.rawValue > next else { return nil }
      next = result.next.rawValue
    }
    return nil
  }

  /// The offset at the index entry before which no record is late enough.
  private func startOffset(_ segment: Segment, _ from: Int64) throws(Fault) -> Int64 {
    do throws(DiskError) {
      let index = try IndexLoader(shared: shared, store: store).index(of: segment)
      return max(from, segment.base + index.relativeOffset(ofTimestamp: search.timestamp))
    } catch {
      // The index is a cache: without it the search begins at the segment's beginning.
      return max(from, segment.base)
    }
  }

  /// The first record of a batch that is late enough.
  private func record(in batch: SharedBytes) throws(Fault) -> TimestampFound? {
    do {
      return try batch.withUnsafeBytes { bytes in
        let header = try BatchHeader(parsing: bytes)
        guard header.maxTimestamp >= search.timestamp else { return nil }
        var found: TimestampFound?
        var reader = BatchReader(limits: BatchLimits())
        try reader.forEach(bytes) { record in
          // A batch may begin before the log start.
          if found == nil, record.timestamp >= search.timestamp, record.offset >= search.from {
            found = TimestampFound(
              offset: Offset(record.offset), timestamp: record.timestamp,
              leaderEpoch: LeaderEpoch(header.leaderEpoch))
          }
        }
        return found
      }
    } catch {
      throw Fault(.batchUndecodable, "a batch of partition \(store.key.partition) cannot be read: \(error)")
    }
  }
}
