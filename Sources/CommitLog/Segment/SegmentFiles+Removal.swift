internal import SkeinCore
internal import Synchronization

/// Removing segments, topics and leftovers, and the emergency space. Threading: as `SegmentFiles`.
extension SegmentFiles {
  /// Removes files that the checkpoint does not name: written after it, then the power failed. What
  /// they held is in the journal. In recovery, before the partition is written again.
  func removeOrphans(of store: PartitionStore) throws(LogError) {
    guard !store.image.isSwept else { return }
    store.image.isSwept = true
    try removeUnknown(of: store, below: .max)
  }

  /// What an interrupted cleaning left: files below the end of the segments that are not in the table,
  /// and unfinished ones. While the directory is served.
  func sweep(_ store: PartitionStore) throws(LogError) {
    guard !store.image.isSwept, !store.state.withLock({ $0.isDeleted }) else { return }
    store.image.isSwept = true
    try removeUnknown(of: store, below: store.state.withLock { $0.writtenEnd })
  }

  private func removeUnknown(of store: PartitionStore, below end: Int64) throws(LogError) {
    let known = Set(
      store.state.withLock { state in
        state.segments.map { IndexCache.Key(store.key, $0) }
      })
    let folder = LogPaths.partition(store.key)
    try onDisk { () throws(DiskError) in
      guard try shared.disk.exists(folder) else { return }
      for entry in try shared.disk.list(folder) {
        let isUnfinished = entry.name.hasSuffix(LogPaths.unfinished)
        let whole = isUnfinished ? String(entry.name.dropLast(LogPaths.unfinished.count)) : entry.name
        let found =
          LogPaths.segment(ofName: whole, suffix: ".log") ?? LogPaths.segment(ofName: whole, suffix: ".index")
        guard let found else { continue }
        let key = IndexCache.Key(store.key, Segment(base: found.base, generation: found.generation))
        guard isUnfinished || found.base < end && !known.contains(key) else { continue }
        try shared.disk.remove("\(folder)/\(entry.name)")
        noteFolder(folder)
      }
    }
  }

  /// Takes segments out of their partitions' tables and then removes their files. Readers that hold
  /// a plan look again.
  func retire(_ retired: [(store: PartitionStore, segments: [Segment])]) throws(LogError) {
    for (store, segments) in retired {
      store.state.withLock { $0.segments.removeFirst(min(segments.count, $0.segments.count)) }
      for segment in segments {
        try onDisk { () throws(DiskError) in try remove(segment, of: store) }
      }
      noteFolder(LogPaths.partition(store.key))
    }
  }

  func remove(_ segment: Segment, of store: PartitionStore) throws(DiskError) {
    let path = LogPaths.segment(store.key, segment)
    let index = LogPaths.index(store.key, segment)
    forget(path)
    shared.files.forget(path)
    shared.indexes.forget(IndexCache.Key(store.key, segment))
    if try shared.disk.exists(index) { try shared.disk.remove(index) }
    guard try shared.disk.exists(path) else { return }
    if try recycled.keep(path, size: segment.size) {
      noteFolder(LogPaths.recycled)
    } else {
      try shared.disk.remove(path)
    }
  }

  /// A removed file needs no sync any more.
  private func forget(_ path: String) {
    guard let writer = unsynced.first(where: { $0.path == path }) else { return }
    release(writer)
  }

  /// Removes a deleted topic's folder with everything in it.
  func removeTopic(_ topic: TopicID) throws(LogError) {
    let folder = LogPaths.topic(topic)
    for writer in unsynced where writer.store.key.topic == topic { release(writer) }
    forgetFolders { $0 == folder || $0.hasPrefix(folder + "/") }
    try onDisk { () throws(DiskError) in
      try shared.names.withLock { (_) throws(DiskError) in try removeTree(folder) }
    }
    noteFolder(LogPaths.topics)
  }

  private func removeTree(_ path: String) throws(DiskError) {
    guard try shared.disk.exists(path) else { return }
    for entry in try shared.disk.list(path) {
      let child = "\(path)/\(entry.name)"
      if entry.isDirectory {
        try removeTree(child)
      } else {
        shared.files.forget(child)
        try shared.disk.remove(child)
      }
    }
    try shared.disk.removeDirectory(path)
  }

  // MARK: Space

  /// Gives up the emergency file; false if it is gone already.
  func releaseEmergencySpace() throws(LogError) -> Bool {
    try onDisk { () throws(DiskError) in
      guard try shared.disk.exists(LogPaths.emergency) else { return false }
      try shared.disk.remove(LogPaths.emergency)
      return true
    }
  }

  /// Makes the emergency file if there is room for it.
  func keepEmergencySpace() throws(LogError) {
    let size = shared.configuration.emergencyBytes
    try onDisk { () throws(DiskError) in
      guard size > 0, try !shared.disk.exists(LogPaths.emergency) else { return }
      let file = try shared.disk.open(LogPaths.emergency, .createNew)
      try file.allocate(from: 0, count: size)
    }
  }
}
