import CommitLog
import Synchronization

/// A disk of which one page write can be told to happen in full and report that there was no space.
///
/// `@unchecked Sendable`: an atomic besides a `let`.
final class LyingDisk: Disk, @unchecked Sendable {
  private let disk: any Disk
  /// Page writes until the lie; negative: none is planned.
  private let pages = Atomic<Int>(-1)

  init(_ disk: any Disk) { self.disk = disk }

  func lie(afterPages count: Int) { pages.store(count, ordering: .relaxed) }

  fileprivate func takesLie() -> Bool { pages.subtract(1, ordering: .relaxed).oldValue == 0 }

  func open(_ path: String, _ mode: OpenMode) throws(DiskError) -> any DiskFile {
    LyingFile(try disk.open(path, mode), path, self)
  }
  func createDirectory(_ path: String) throws(DiskError) { try disk.createDirectory(path) }
  func list(_ path: String) throws(DiskError) -> [DirectoryEntry] { try disk.list(path) }
  func rename(_ from: String, to: String) throws(DiskError) { try disk.rename(from, to: to) }
  func remove(_ path: String) throws(DiskError) { try disk.remove(path) }
  func removeDirectory(_ path: String) throws(DiskError) { try disk.removeDirectory(path) }
  func syncDirectory(_ path: String) throws(DiskError) { try disk.syncDirectory(path) }
  func syncAll() throws(DiskError) { try disk.syncAll() }
  func exists(_ path: String) throws(DiskError) -> Bool { try disk.exists(path) }
  func space() throws(DiskError) -> DiskSpace { try disk.space() }
  func lock(_ path: String) throws(DiskError) -> any DiskLock { try disk.lock(path) }
}

private final class LyingFile: DiskFile {
  private let file: any DiskFile
  private let path: String
  private let disk: LyingDisk

  init(_ file: any DiskFile, _ path: String, _ disk: LyingDisk) {
    self.file = file
    self.path = path
    self.disk = disk
  }

  func size() throws(DiskError) -> Int64 { try file.size() }
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DiskError) -> Int {
    try file.read(into: buffer, at: offset)
  }
  func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(DiskError) {
    try file.write(parts, at: offset)
    if parts.reduce(0, { $0 + $1.count }) == 4_096, disk.takesLie() {
      throw DiskError(.noSpace, operation: "write", path: path, code: 28)
    }
  }
  func sync() throws(DiskError) { try file.sync() }
  func truncate(to size: Int64) throws(DiskError) { try file.truncate(to: size) }
  func allocate(from offset: Int64, count: Int64) throws(DiskError) {
    try file.allocate(from: offset, count: count)
  }
}
