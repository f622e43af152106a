internal import SkeinCore
internal import Synchronization

/// Gets a segment's index: from memory, from its file, or by walking the segment (R54).
/// Threading: any I/O thread; blocks.
struct IndexLoader {
  let shared: DirectoryShared
  let store: PartitionStore

  /// The complete index of `segment`, or as much of it as could be read: lookups that it cannot
  /// answer begin at the segment's beginning.
  func index(of segment: Segment) throws(DiskError) -> SegmentIndex {
    if let index = segment.index {
      return index.isComplete ? index : try completeActive(segment, index)
    }
    let key = IndexCache.Key(store.key, segment)
    if let cached = shared.indexes.index(key) { return cached }
    var found = try stored(segment)
    if found == nil { found = try scan(segment, to: segment.size) }
    let index = found ?? SegmentIndex()
    shared.indexes.insert(index, for: key)
    return index
  }

  private func stored(_ segment: Segment) throws(DiskError) -> SegmentIndex? {
    let path = LogPaths.index(store.key, segment)
    guard try shared.disk.exists(path) else { return nil }
    let file = try shared.disk.open(path, .readOnly)
    let size = try file.size()
    // More entries than the segment's bytes allow is not its index.
    guard size <= 64 + 16 * (segment.size / SegmentIndex.interval + 2) else { return nil }
    let bytes = try file.read(Int(size), at: 0)
    guard bytes.count == Int(size) else { return nil }
    return SegmentIndex(
      decoding: bytes.array, key: store.key, base: segment.base, end: segment.end, size: segment.size)
  }

  /// Walks what the active segment's index misses since the restart, and keeps it.
  private func completeActive(_ segment: Segment, _ index: SegmentIndex) throws(DiskError) -> SegmentIndex {
    let beginning = try scan(segment, to: index.coversFrom)
    var completed = index
    completed.fillBeginning(with: beginning)
    store.state.withLock { state in
      guard let last = state.segments.indices.last, state.segments[last].isSameFile(as: segment) else {
        return
      }
      state.segments[last].index?.fillBeginning(with: beginning)
    }
    return completed
  }

  /// A flaw in the segment is not judged here: who reads the batch will meet it.
  private func scan(_ segment: Segment, to limit: Int64) throws(DiskError) -> SegmentIndex {
    var index = SegmentIndex()
    var maxTimestamp = Int64.min
    let file = try shared.files.file(LogPaths.segment(store.key, segment))
    let scan = SegmentScan(file: file, key: store.key, verifyPayload: false)
    _ = try scan.run(from: 0, to: limit, offset: segment.base) { facts, position in
      index.note(
        relativeOffset: facts.base - segment.base, position: position, maxTimestampBefore: maxTimestamp)
      maxTimestamp = max(maxTimestamp, facts.maxTimestamp)
    }
    return index
  }
}
