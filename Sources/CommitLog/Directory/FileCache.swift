internal import SkeinCore
internal import Synchronization

/// Open segment files for readers, at most `limit`, least recently used closed first.
///
/// A file is closed with its last reference, so an evicted one lives until its reads are over.
/// Threading: any thread; files are opened outside the mutex.
final class FileCache: Sendable {
  private struct Slot {
    var file: any DiskFile
    var lastUse: UInt64
  }
  private struct State {
    var slots: [String: Slot] = [:]
    var clock: UInt64 = 0
  }

  private let disk: any Disk
  private let limit: Int
  private let state = Mutex(State())

  init(disk: any Disk, limit: Int) {
    self.disk = disk
    self.limit = max(limit, 1)
  }

  var count: Int { state.withLock { $0.slots.count } }

  /// The file of `path`, opened for reading if it is not open yet.
  func file(_ path: String) throws(DiskError) -> any DiskFile {
    let cached: (any DiskFile)? = state.withLock { state in
      state.clock += 1
      guard let index = state.slots.index(forKey: path) else { return nil }
      state.slots.values[index].lastUse = state.clock
      return state.slots.values[index].file
    }
    if let cached { return cached }
    let opened = try disk.open(path, .readOnly)
    state.withLock { state in
      state.slots[path] = Slot(file: opened, lastUse: state.clock)
      while state.slots.count > limit { Self.evictOldest(&state) }
    }
    return opened
  }

  /// Forgets a path that is about to be removed or renamed.
  func forget(_ path: String) {
    let dropped = state.withLock { $0.slots.removeValue(forKey: path) }
    _ = dropped  // Closed outside the mutex.
  }

  /// Linear, but only when a file had to be opened, which costs far more.
  private static func evictOldest(_ state: inout State) {
    guard let oldest = state.slots.min(by: { $0.value.lastUse < $1.value.lastUse }) else { return }
    state.slots.removeValue(forKey: oldest.key)
  }
}
