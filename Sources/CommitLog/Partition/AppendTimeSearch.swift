internal import RecordFormat
package import SkeinCore
internal import Synchronization

/// When a record was appended, for lag in seconds (R60).
///
/// What the tail cache holds is answered at once; the rest costs one index lookup and the frames between
/// two index entries, about 16 KiB and a batch.
extension PartitionLog {
  /// What is known without reading a file.
  package enum AppendTime: Sendable {
    /// No record at or above the offset is durable.
    case none
    /// Milliseconds of the broker's clock.
    case known(Int64)
    /// Ask `LogDirectory.appendTime` on an I/O thread.
    case onDisk
  }

  /// The append time of the batch that holds the first record at or above `offset`. Any thread; no I/O.
  package func appendTime(at offset: Offset) -> AppendTime {
    store.state.withLock { state in
      let position = max(offset.rawValue, state.logStart)
      guard position < state.durableEnd, !state.isDeleted else { return .none }
      guard let entry = state.tail.entry(holding: position) else { return .onDisk }
      return .known(entry.facts.appendTime)
    }
  }
}

extension LogDirectory {
  /// The append time, in milliseconds of the broker's clock, of the batch that holds the first record at or
  /// above `offset`; nil when no such record is durable. Where compaction has left no record at the offset
  /// it may be that of the newest record that was there, which is no later. Any I/O thread; blocks, reads
  /// a bounded piece. Throws DATA_CORRUPT when the partition is offline or the piece is damaged.
  package func appendTime(of log: PartitionLog, at offset: Offset) throws(Fault) -> Int64? {
    if shared.isOffline { throw shared.offlineFault }
    // Retention and cleaner may be faster a few times; each makes the log shorter.
    for _ in 0..<4 {
      switch log.appendTime(at: offset) {
      case .none: return nil
      case .known(let time): return time
      case .onDisk: break
      }
      if let why = log.corruption { throw PartitionLog.corruptFault(log.key, why) }
      if let found = appendTimeOnDisk(log.store, offset.rawValue) { return found }
    }
    throw Fault(
      .overloaded, "the segments of partition \(log.key.partition) change too fast to be read; ask again",
      retryAfterMilliseconds: 100)
  }

  /// Nil to look again.
  private func appendTimeOnDisk(_ store: PartitionStore, _ offset: Int64) -> Int64? {
    let (segment, from, newest) = store.state.withLock { state -> (Segment?, Int64, Int64) in
      let from = max(offset, state.logStart)
      let start = state.segments.position(covering: from) ?? 0
      return (state.segments[start...].first { $0.end > from && $0.size > 0 }, from, state.lastAppendTime)
    }
    // Only accepted losses lie behind the last segment.
    guard let segment else { return newest }
    var found: Int64?
    do throws(DiskError) {
      let index = try IndexLoader(shared: shared, store: store).index(of: segment)
      let position = index.position(of: max(from - segment.base, 0)) ?? 0
      let file = try shared.files.file(LogPaths.segment(store.key, segment))
      found = try firstAppendTime(file, store.key, segment, position, from)
      // The index is not trusted over the log: once more from the beginning (R54).
      if found == nil, position > 0 { found = try firstAppendTime(file, store.key, segment, 0, from) }
    } catch {
      return nil
    }
    return found
  }

  private func firstAppendTime(
    _ file: any DiskFile, _ key: TopicPartition, _ segment: Segment, _ position: Int64, _ from: Int64
  ) throws(DiskError) -> Int64? {
    let prefix = try file.read(Int(min(Int64(StoredFrame.prefixSize), segment.size - position)), at: position)
    let base = prefix.withUnsafeBytes { StoredFrame.plausibleBase($0, key: key) }
    guard let base, base <= max(from, segment.base) else { return nil }
    var found: Int64?
    _ = try SegmentScan(file: file, key: key, verifyPayload: false).batches(
      from: position, to: segment.size, offset: base
    ) { facts, _, stored in
      guard facts.end > from else { return true }
      found = facts.appendTime
      // An empty batch is only a place: one record further on is what was asked for.
      let header = stored.withUnsafeBytes { bytes in
        try? BatchHeader(parsing: UnsafeRawBufferPointer(rebasing: bytes[Frame.size...]))
      }
      return header?.recordCount == 0
    }
    return found
  }
}
