/// The disk seam: the only way in which Skein touches files (style habit 3).
///
/// Two implementations: `DiskIO.FileDisk` (real files, the only file syscalls of the project) and
/// `Simulation.SimulatedDisk` (a power-cut model). The contract is what POSIX and Linux file
/// systems really promise, no more:
/// - Written bytes and a file's new length are durable only after `sync` of that file returned.
/// - A created, renamed or removed name is durable only after `syncDirectory` of its folder (B19).
/// - After `sync` threw, nothing may be assumed about what it covered; it is never retried (R56).
///
/// Paths are relative to the disk's root, use `/`, and never contain `..`; the empty path is the root. All calls block. They may
/// be made from any thread; two calls on one file at the same time must not overlap in range.
public protocol Disk: AnyObject, Sendable {
  /// Opens a regular file.
  func open(_ path: String, _ mode: OpenMode) throws(DiskError) -> any DiskFile
  /// Creates one folder; its parent must exist. An existing folder is not an error.
  func createDirectory(_ path: String) throws(DiskError)
  /// Names in a folder, in byte order, without `.` and `..`.
  func list(_ path: String) throws(DiskError) -> [DirectoryEntry]
  func rename(_ from: String, to: String) throws(DiskError)
  func remove(_ path: String) throws(DiskError)
  func removeDirectory(_ path: String) throws(DiskError)
  /// Makes the names in a folder durable.
  func syncDirectory(_ path: String) throws(DiskError)
  /// Makes everything that was written or renamed before durable: all files, all names. For many
  /// files at once it costs a fraction of syncing each; after an error it is as with `sync`.
  func syncAll() throws(DiskError)
  func exists(_ path: String) throws(DiskError) -> Bool
  /// Bytes free for this process, and the size of the file system.
  func space() throws(DiskError) -> DiskSpace
  /// Takes the exclusive advisory lock of `path` (created if absent) for the life of the returned
  /// token; throws `.locked` when another process or disk user holds it.
  func lock(_ path: String) throws(DiskError) -> any DiskLock
}

public enum OpenMode: Sendable {
  /// Must exist.
  case readOnly
  /// Must exist.
  case readWrite
  /// Created empty if absent.
  case create
  /// Must not exist.
  case createNew
}

public struct DirectoryEntry: Sendable, Hashable {
  public var name: String
  public var isDirectory: Bool
  public init(name: String, isDirectory: Bool) {
    self.name = name
    self.isDirectory = isDirectory
  }
}

public struct DiskSpace: Sendable, Hashable {
  public var free: Int64
  public var total: Int64
  public init(free: Int64, total: Int64) {
    self.free = free
    self.total = total
  }
}

/// An open file; closed with its last reference.
public protocol DiskFile: AnyObject, Sendable {
  /// Bytes in the file.
  func size() throws(DiskError) -> Int64
  /// Fills as much of `buffer` as the file has from `offset` on; returns the count, short only at
  /// the end of the file.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DiskError) -> Int
  /// Writes all parts one after another from `offset` on, in full, or throws; after an error any
  /// part of it may have been written.
  func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(DiskError)
  /// Makes all completed writes durable (fdatasync: bytes and length, no timestamps).
  func sync() throws(DiskError)
  func truncate(to size: Int64) throws(DiskError)
  /// Reserves blocks so that writes in the range cannot fail for want of space; the file's size stays
  /// as it is. A file system that cannot reserve does nothing.
  func allocate(from offset: Int64, count: Int64) throws(DiskError)
  /// Asks that the next read of the range comes from the medium, not from a cache. Advice only: a cache may
  /// keep what was not synced, and a disk without a cache does nothing.
  func dropCache(from offset: Int64, count: Int64)
}

extension DiskFile {
  public func dropCache(from offset: Int64, count: Int64) {}
}

/// Released with its last reference.
public protocol DiskLock: AnyObject, Sendable {}

/// What the operating system refused, with the path and the call.
public struct DiskError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable {
    case notFound
    case exists
    /// ENOSPC or EDQUOT.
    case noSpace
    /// EIO and anything unexpected: the file's state is unknown.
    case io
    case locked
    case permission
    /// EMFILE or ENFILE.
    case tooManyFiles
  }

  public var kind: Kind
  public var operation: String
  public var path: String
  /// errno, 0 if none.
  public var code: Int32

  public init(_ kind: Kind, operation: String, path: String, code: Int32 = 0) {
    self.kind = kind
    self.operation = operation
    self.path = path
    self.code = code
  }

  public var description: String { "\(operation) \(path): \(kind) (errno \(code))" }
}
