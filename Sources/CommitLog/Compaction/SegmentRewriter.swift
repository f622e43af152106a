internal import RecordFormat
internal import SkeinCore
internal import Synchronization

/// Writes one compacted segment: batches that stay as they are, smaller copies, and one empty batch for
/// each run of offsets of which nothing is left. So the new segment is as contiguous as its sources, and
/// everything that reads, verifies or salvages segments treats it like any other.
///
/// The file is called `….tmp` until `publish`. Batches are buffered until `flush`. Confined to one
/// thread at a time.
final class SegmentRewriter {
  /// Offsets without records, to be written as one empty batch.
  private struct Gap {
    var base: Int64
    var end: Int64
    var epoch: Int32
    /// Of the newest batch in it.
    var appendTime: Int64
    var generation: UInt32
  }

  private let shared: DirectoryShared
  private let store: PartitionStore
  private let file: any DiskFile
  private let unfinished: String
  private(set) var result: Segment
  private var gap: Gap?
  private var parts: [SharedBytes] = []
  private var written: Int64 = 0
  private var unsynced: Int64 = 0

  private var key: TopicPartition { store.key }
  private var breakages: Set<LogBreakage> { shared.configuration.breakages }

  /// Nil when the topic is being deleted.
  init?(
    shared: DirectoryShared, store: PartitionStore, base: Int64, generation: UInt32
  ) throws(DiskError) {
    self.shared = shared
    self.store = store
    result = Segment(base: base, generation: generation)
    let unfinished = LogPaths.segment(store.key, result) + LogPaths.unfinished
    self.unfinished = unfinished
    let opened = try shared.names.withLock { (_) throws(DiskError) -> (any DiskFile)? in
      if store.state.withLock({ $0.isDeleted }) { return nil }
      return try shared.disk.open(unfinished, .create)
    }
    guard let opened else { return nil }
    file = opened
    try file.truncate(to: 0)
  }

  // MARK: Batches, in the order of their offsets

  /// Frame and batch as they are stored.
  func keep(_ facts: BatchFacts, _ stored: SharedBytes) {
    closeGap()
    parts.append(stored)
    result.note(facts)
  }

  /// Another batch in the place of the one with this frame.
  func replace(_ frame: Frame, with batch: SharedBytes) {
    closeGap()
    append(batch, appendTime: frame.appendTime, generation: frame.generation)
  }

  /// Nothing of it is left.
  func drop(_ frame: Frame) {
    if breakages.contains(.compactLeavesHoles) { return }
    if var open = gap, open.end == frame.baseOffset, open.epoch == frame.leaderEpoch,
      frame.nextOffset - open.base <= Int64(Int32.max)
    {
      open.end = frame.nextOffset
      open.appendTime = max(open.appendTime, frame.appendTime)
      gap = open
      return
    }
    closeGap()
    gap = Gap(
      base: frame.baseOffset, end: frame.nextOffset, epoch: frame.leaderEpoch, appendTime: frame.appendTime,
      generation: frame.generation)
  }

  /// Tombstones that may go at `horizon` were kept.
  func noteTombstones(until horizon: Int64) {
    result.tombstonesUntil = max(result.tombstonesUntil, horizon)
  }

  private func closeGap() {
    guard let open = gap else { return }
    gap = nil
    let batch = BatchSieve.empty(
      base: open.base, lastOffsetDelta: Int32(clamping: open.end - open.base - 1), leaderEpoch: open.epoch)
    append(batch, appendTime: open.appendTime, generation: open.generation)
  }

  private func append(_ batch: SharedBytes, appendTime: Int64, generation: UInt32) {
    // Our own batch: its header parses.
    guard let header = try? batch.withUnsafeBytes({ try BatchHeader(parsing: $0) }) else { return }
    var frame = Frame(batch: header, appendTime: appendTime, generation: generation)
    let bytes = SharedBytes(SharedBytes.Storage(capacity: Frame.size), offset: 0, count: Frame.size)
    bytes.withUnsafeMutableBytesBeforeSharing { frame.encode(into: $0, key: key, batchCRC: header.crc) }
    parts.append(bytes)
    parts.append(batch)
    result.note(BatchFacts(frame, header))
  }

  // MARK: The file

  /// Writes what is buffered; bytes.
  func flush() throws(DiskError) -> Int {
    guard !parts.isEmpty else { return 0 }
    let bytes = parts.reduce(0) { $0 + $1.count }
    let views = parts.map(\.unsafeView)
    defer { withExtendedLifetime(parts) {} }
    try file.write(views, at: written)
    written += Int64(bytes)
    unsynced += Int64(bytes)
    parts.removeAll(keepingCapacity: true)
    return bytes
  }

  /// A sync is due, so that none takes long.
  var isSyncDue: Bool { unsynced >= shared.configuration.pacedSyncBytes }

  func sync() throws(DiskError) {
    unsynced = 0
    if breakages.contains(.compactWithoutSync) { return }
    try file.sync()
  }

  /// Closes the last gap; what remains is to be flushed and synced.
  func complete() { closeGap() }

  /// Gives the file, which is synced, its name, durably. False when the topic is being deleted.
  func publish() throws(DiskError) -> Bool {
    let index = result.index
    result.index = nil
    result.isSealed = true
    let (segment, path, store, shared) = (result, LogPaths.segment(key, result), store, shared)
    let unfinished = unfinished
    let isThere = try shared.names.withLock { (_) throws(DiskError) -> Bool in
      if store.state.withLock({ $0.isDeleted }) { return false }
      try shared.disk.rename(unfinished, to: path)
      // Not synced: an index that does not survive is rebuilt (R54).
      if let index {
        let bytes = index.encoded(key: store.key, base: segment.base, end: segment.end, size: segment.size)
        let file = try shared.disk.open(LogPaths.index(store.key, segment), .create)
        try file.write(bytes, at: 0)
        try file.truncate(to: Int64(bytes.count))
      }
      return true
    }
    if isThere, !breakages.contains(.compactWithoutDirectorySync) {
      try shared.disk.syncDirectory(LogPaths.partition(key))
    }
    return isThere
  }

  /// Takes back what was written; whatever stays is swept at the next start.
  func discard() {
    let names = [unfinished, LogPaths.segment(key, result), LogPaths.index(key, result)]
    for name in names { try? shared.disk.remove(name) }
  }
}
