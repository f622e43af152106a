internal import SkeinCore
internal import Synchronization

/// The segment files of a directory as the write-behind thread handles them: append, roll, paced
/// syncs, removal. Threading: the write-behind thread (recovery before it exists).
final class SegmentFiles {
  let shared: DirectoryShared
  /// Written since their last sync, oldest first; each pins its descriptor.
  private(set) var unsynced: [SegmentWriter] = []
  /// Folders with names that are not durable yet, in the order in which they must be synced.
  private(set) var folders: [String] = []

  var recycled: RecycledFiles

  init(shared: DirectoryShared) {
    self.shared = shared
    recycled = RecycledFiles(
      disk: shared.disk, limit: shared.configuration.maxRecycledBytes,
      smallest: shared.configuration.smallestRecycledBytes)
  }

  // MARK: Appending

  /// Writes contiguous batches to the partition's segments, rolling as needed, and takes them into
  /// its image: segment table, index, epochs, producers.
  func append(_ run: ArraySlice<TailEntry>, to store: PartitionStore) throws(LogError) {
    var rest = run
    while let first = rest.first {
      let (writer, segment, limit) = try onDisk {
        () throws(DiskError) -> (SegmentWriter, Segment, limit: Int64) in
        try self.writer(for: first.facts, of: store)
      }
      let count = fitting(rest, in: segment, limit: limit)
      let part = rest.prefix(count)
      try onDisk { () throws(DiskError) in try writer.write(part, at: segment.size, limit: limit) }
      list(writer)
      note(part, in: store)
      rest = rest.dropFirst(count)
      if writer.unsynced >= shared.configuration.pacedSyncBytes { try sync(writer) }
    }
    try boundDescriptors()
  }

  private func fitting(_ run: ArraySlice<TailEntry>, in segment: Segment, limit: Int64) -> Int {
    var size = segment.size
    var count = 0
    for entry in run {
      size += Int64(entry.byteCount)
      if count > 0 && size > limit { break }
      count += 1
    }
    return count
  }

  /// The batches are in the segment's file now.
  private func note(_ part: ArraySlice<TailEntry>, in store: PartitionStore) {
    for entry in part {
      if let stamp = entry.facts.producer {
        store.image.producers.record(
          stamp, base: entry.base, appendTime: entry.facts.appendTime)
      }
    }
    let bytes = store.state.withLock { state -> Int in
      // A deletion has emptied the tail, and settled its bytes, in the meantime.
      guard let last = state.segments.indices.last, !state.isDeleted else { return 0 }
      for entry in part { state.segments[last].note(entry.facts) }
      state.writtenEnd = max(state.writtenEnd, part.last?.end ?? 0)
      return state.tail.markWritten(count: part.count)
    }
    shared.unwrittenBytes.subtract(bytes, ordering: .relaxed)
  }

  /// Writes a copy of intact batches as the content of a sealed segment of its own.
  func copy(
    _ source: any DiskFile, _ range: Range<Int64>, to segment: Segment, of store: PartitionStore
  ) throws(DiskError) {
    let file = try shared.disk.open(LogPaths.segment(store.key, segment), .create)
    let writer = try SegmentWriter(store: store, segment: segment, file: file, content: 0)
    try writer.copy(source, range)
    list(writer)
    noteFolder(LogPaths.partition(store.key))
  }

  // MARK: Rolling

  /// The writer of the segment that takes `batch`; a new segment when the active one is full, old,
  /// sealed, or ends before it.
  private func writer(
    for batch: BatchFacts, of store: PartitionStore
  ) throws(DiskError) -> (SegmentWriter, Segment, limit: Int64) {
    let (active, settings) = store.state.withLock {
      ($0.segments.last, $0.settings ?? PartitionSettings())
    }
    let limit = settings.segmentBytes
    if let active, !active.isSealed {
      do throws(DiskError) {
        if Self.takes(active, batch, settings) { return (try open(active, of: store), active, limit) }
        try seal(active, of: store)
      } catch {
        guard error.kind == .notFound else { throw error }
        giveUp(active, of: store)
      }
    }
    // A segment that was filled is likely to be followed by another that is filled.
    let isBusy = active.map { $0.size >= limit / 2 } ?? false
    let created = try create(batch.base, in: store, reusing: isBusy ? limit : nil)
    store.state.withLock { $0.segments.append(created.segment) }
    return (created.writer, created.segment, limit)
  }

  /// Somebody removed the file. Only this partition suffers: it goes offline (R52), and what the
  /// journal holds for it is kept in a new segment.
  private func giveUp(_ segment: Segment, of store: PartitionStore) {
    store.image.writer = nil
    store.state.withLock { state in
      state.condemn("the file of segment \(segment.base) is missing")
      guard let last = state.segments.indices.last else { return }
      state.segments[last].isSealed = true
      state.segments[last].index = nil
    }
  }

  private static func takes(_ active: Segment, _ batch: BatchFacts, _ settings: PartitionSettings) -> Bool {
    active.end == batch.base
      && (active.size == 0
        || active.size + Int64(batch.byteCount) <= settings.segmentBytes
          && batch.appendTime - active.firstAppendTime < settings.segmentMilliseconds
          && batch.end - active.base < Int64(UInt32.max))
  }

  private func open(_ segment: Segment, of store: PartitionStore) throws(DiskError) -> SegmentWriter {
    if let writer = store.image.writer, writer.base == segment.base { return writer }
    let file = try shared.disk.open(LogPaths.segment(store.key, segment), .readWrite)
    let writer = try SegmentWriter(store: store, segment: segment, file: file, content: segment.size)
    store.image.writer = writer
    return writer
  }

  private func create(
    _ base: Int64, in store: PartitionStore, reusing limit: Int64?
  ) throws(DiskError) -> (segment: Segment, writer: SegmentWriter) {
    try createFolders(store)
    let path = LogPaths.segment(store.key, base: base)
    if let limit, try recycled.reuse(as: path, limit: limit) { noteFolder(LogPaths.recycled) }
    let file = try shared.disk.open(path, .create)
    let writer = try SegmentWriter(store: store, segment: Segment(base: base), file: file, content: 0)
    store.image.writer = writer
    noteFolder(LogPaths.partition(store.key))
    return (Segment(base: base), writer)
  }

  private func createFolders(_ store: PartitionStore) throws(DiskError) {
    guard !store.image.hasFolder else { return }
    try shared.disk.createDirectory(LogPaths.topic(store.key.topic))
    try shared.disk.createDirectory(LogPaths.partition(store.key))
    noteFolder(LogPaths.topics)
    noteFolder(LogPaths.topic(store.key.topic))
    store.image.hasFolder = true
  }

  /// Ends the active segment: it will never be written again, and retention may take it.
  func seal(_ segment: Segment, of store: PartitionStore) throws(DiskError) {
    let writer = try open(segment, of: store)
    try writer.trim(to: segment.size)
    list(writer)
    if let index = segment.index, index.isComplete {
      try writeIndex(index, of: segment, store)
    }
    store.image.writer = nil
    store.state.withLock { state in
      guard let last = state.segments.indices.last else { return }
      state.segments[last].isSealed = true
      state.segments[last].index = nil
    }
  }

  /// Not synced: an index that does not survive is rebuilt (R54).
  private func writeIndex(
    _ index: SegmentIndex, of segment: Segment, _ store: PartitionStore
  ) throws(DiskError) {
    let bytes = index.encoded(key: store.key, base: segment.base, end: segment.end, size: segment.size)
    let file = try shared.disk.open(LogPaths.index(store.key, segment), .create)
    try file.write(bytes, at: 0)
    try file.truncate(to: Int64(bytes.count))
    shared.indexes.insert(index, for: IndexCache.Key(store.key, segment))
  }

  // MARK: Syncing

  /// Syncs one file or folder; false when everything is synced.
  func syncNext() throws(LogError) -> Bool {
    if unsynced.count + folders.count > shared.configuration.bulkSyncAbove, !skipsFolders {
      try syncAll()
      return true
    }
    if let writer = unsynced.first {
      try sync(writer)
      release(writer)
      return true
    }
    guard let folder = folders.first else { return false }
    if !skipsFolders {
      try onDisk { () throws(DiskError) in try shared.disk.syncDirectory(folder) }
    }
    folders.removeFirst()
    return true
  }

  /// Something was written since the last sync of everything.
  var hasUnsynced: Bool { !unsynced.isEmpty || !folders.isEmpty }

  private var skipsFolders: Bool { shared.configuration.breakages.contains(.skipDirectorySync) }

  /// A thousand files cost a thousand flushes of the device one by one: 6 s against 0.12 s at once,
  /// measured on ext4.
  private func syncAll() throws(LogError) {
    try sync { () throws(DiskError) in try shared.disk.syncAll() }
    for writer in unsynced {
      writer.noteSynced()
      detach(writer)
    }
    unsynced = []
    folders = []
  }

  private func sync(_ writer: SegmentWriter) throws(LogError) {
    try sync { () throws(DiskError) in try writer.sync() }
  }

  private func sync(_ body: () throws(DiskError) -> Void) throws(LogError) {
    do throws(DiskError) { try body() } catch {
      // Whatever a failed sync covered may be gone, and a second one would not tell (R56).
      guard shared.configuration.breakages.contains(.retryFailedSync) else { throw .offline(error) }
      try onDisk(body)
    }
  }

  private func list(_ writer: SegmentWriter) {
    guard !writer.isListed else { return }
    writer.isListed = true
    unsynced.append(writer)
  }

  /// Closes a synced file: idle partitions hold no descriptor.
  func release(_ writer: SegmentWriter) {
    unsynced.removeAll { $0 === writer }
    detach(writer)
  }

  private func detach(_ writer: SegmentWriter) {
    writer.isListed = false
    if writer.store.image.writer === writer { writer.store.image.writer = nil }
  }

  /// Syncs and closes the oldest files while too many are open.
  func boundDescriptors() throws(LogError) {
    guard unsynced.count > shared.configuration.maxOpenFiles else { return }
    if unsynced.count > shared.configuration.bulkSyncAbove, !skipsFolders { return try syncAll() }
    while unsynced.count > shared.configuration.maxOpenFiles, let oldest = unsynced.first {
      try sync(oldest)
      release(oldest)
    }
  }

  /// A name in this folder has changed.
  func noteFolder(_ path: String) {
    if !folders.contains(path) { folders.append(path) }
  }

  /// These folders are gone.
  func forgetFolders(where matches: (String) -> Bool) { folders.removeAll(where: matches) }
}
