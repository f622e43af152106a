internal import SkeinCore

/// Files of deleted segments, kept to be overwritten: writing blocks that were written before needs no
/// allocation, so its sync costs a fraction (architecture.md, journal figures). Bounded by bytes.
///
/// What they hold is another life's: nothing is read from a segment beyond its recorded content, and
/// a frame of another partition, offset or epoch does not verify. Threading: the write-behind thread.
struct RecycledFiles {
  private let disk: any Disk
  private let limit: Int64
  private let smallest: Int64
  private var files: [(path: String, size: Int64)] = []
  private var bytes: Int64 = 0
  private var nextNumber: UInt64 = 0

  /// - Parameters:
  ///   - limit: bytes of all files together; 0 keeps none.
  ///   - smallest: files below it are not worth keeping.
  init(disk: any Disk, limit: Int64, smallest: Int64) {
    self.disk = disk
    self.limit = limit
    self.smallest = smallest
  }

  /// Finds what an earlier process kept.
  mutating func load() throws(DiskError) {
    for entry in try disk.list(LogPaths.recycled) {
      guard let number = LogPaths.base(ofName: entry.name, suffix: ".log") else { continue }
      let path = "\(LogPaths.recycled)/\(entry.name)"
      let size = try disk.open(path, .readOnly).size()
      nextNumber = max(nextNumber, UInt64(number) + 1)
      guard bytes + size <= limit else {
        try disk.remove(path)
        continue
      }
      files.append((path, size))
      bytes += size
    }
  }

  /// Takes over the file of a deleted segment; false when it is not wanted. The caller syncs both
  /// folders in its time.
  mutating func keep(_ path: String, size: Int64) throws(DiskError) -> Bool {
    guard size >= smallest, bytes + size <= limit else { return false }
    let kept = "\(LogPaths.recycled)/\(LogPaths.name(ofBase: Int64(nextNumber))).log"
    try disk.rename(path, to: kept)
    nextNumber += 1
    files.append((kept, size))
    bytes += size
    return true
  }

  /// Moves a kept file that suits a segment of at most `limit` bytes to `path`; false if there is none.
  mutating func reuse(as path: String, limit: Int64) throws(DiskError) -> Bool {
    guard let index = files.firstIndex(where: { $0.size <= limit && $0.size >= limit / 2 }) else {
      return false
    }
    try disk.rename(files[index].path, to: path)
    bytes -= files[index].size
    files.remove(at: index)
    return true
  }
}
