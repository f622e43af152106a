package import CommitLog
internal import CSkeinShims
internal import Glibc

/// The disk seam over real files: the only place of the project that makes file syscalls.
///
/// Every path is resolved below the root's descriptor, never through `..`, an absolute path or a
/// symbolic link as its last component; every descriptor is closed on exec. Interrupted calls are
/// repeated and short writes continued. Nothing here retries a failed sync (R56).
///
/// **Threading.** Any thread; all calls block, so never on an event loop.
package final class FileDisk: Disk {
  let root: Descriptor
  private let rootPath: String

  /// - Parameter root: an existing folder.
  package init(root: String) throws(DiskError) {
    rootPath = root
    let number = interruptible { Glibc.open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard number >= 0 else { throw DiskError(errno: errno, "open", root) }
    self.root = Descriptor(number)
  }

  package func open(_ path: String, _ mode: OpenMode) throws(DiskError) -> any DiskFile {
    let flags: Int32 =
      switch mode {
      case .readOnly: O_RDONLY
      case .readWrite: O_RDWR
      case .create: O_RDWR | O_CREAT
      case .createNew: O_RDWR | O_CREAT | O_EXCL
      }
    return RealFile(try openDescriptor(path, flags, "open"), path)
  }

  package func createDirectory(_ path: String) throws(DiskError) {
    let checked = try check(path, "mkdir")
    guard mkdirat(root.number, checked, 0o700) == 0 || errno == EEXIST else {
      throw DiskError(errno: errno, "mkdir", path)
    }
  }

  package func list(_ path: String) throws(DiskError) -> [DirectoryEntry] {
    let number = try openDescriptor(path, O_RDONLY | O_DIRECTORY, "list").release()
    guard let stream = fdopendir(number) else {
      let code = errno
      close(number)
      throw DiskError(errno: code, "list", path)
    }
    defer { closedir(stream) }
    var entries: [DirectoryEntry] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        if errno != 0 { throw DiskError(errno: errno, "list", path) }
        break
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name == "." || name == ".." { continue }
      let isDirectory = try isDirectory(entry.pointee.d_type, path, name)
      entries.append(DirectoryEntry(name: name, isDirectory: isDirectory))
    }
    return entries.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  package func rename(_ from: String, to: String) throws(DiskError) {
    let (old, new) = (try check(from, "rename"), try check(to, "rename"))
    guard renameat(root.number, old, root.number, new) == 0 else {
      throw DiskError(errno: errno, "rename", from)
    }
  }

  package func remove(_ path: String) throws(DiskError) {
    let checked = try check(path, "unlink")
    guard unlinkat(root.number, checked, 0) == 0 else { throw DiskError(errno: errno, "unlink", path) }
  }

  package func removeDirectory(_ path: String) throws(DiskError) {
    let checked = try check(path, "rmdir")
    guard unlinkat(root.number, checked, Int32(AT_REMOVEDIR)) == 0 else {
      throw DiskError(errno: errno, "rmdir", path)
    }
  }

  package func syncDirectory(_ path: String) throws(DiskError) {
    let folder = try openDescriptor(path, O_RDONLY | O_DIRECTORY, "fsync")
    guard fsync(folder.number) == 0 else { throw DiskError(errno: errno, "fsync", path) }
  }

  package func exists(_ path: String) throws(DiskError) -> Bool {
    let checked = try check(path, "stat")
    if faccessat(root.number, checked, F_OK, Int32(AT_SYMLINK_NOFOLLOW)) == 0 { return true }
    guard errno == ENOENT || errno == ENOTDIR else { throw DiskError(errno: errno, "stat", path) }
    return false
  }

  package func space() throws(DiskError) -> DiskSpace {
    var status = statvfs()
    guard fstatvfs(root.number, &status) == 0 else { throw DiskError(errno: errno, "statvfs", rootPath) }
    let unit = Int64(status.f_frsize)
    // f_bavail leaves out what is reserved for root.
    return DiskSpace(
      free: Int64(clamping: status.f_bavail).multipliedClamped(by: unit),
      total: Int64(clamping: status.f_blocks).multipliedClamped(by: unit))
  }

  package func lock(_ path: String) throws(DiskError) -> any DiskLock {
    let file = try openDescriptor(path, O_RDWR | O_CREAT, "lock")
    guard interruptible({ flock(file.number, LOCK_EX | LOCK_NB) }) == 0 else {
      throw DiskError(errno: errno, "lock", path)
    }
    return RealLock(file)
  }

  private func openDescriptor(
    _ path: String, _ flags: Int32, _ operation: String
  ) throws(DiskError) -> Descriptor {
    let checked = try check(path, operation)
    let number = interruptible {
      openat(root.number, checked, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    }
    guard number >= 0 else { throw DiskError(errno: errno, operation, path) }
    return Descriptor(number)
  }

  /// The path to hand to an *at call; the empty path is the root itself.
  private func check(_ path: String, _ operation: String) throws(DiskError) -> String {
    if path.isEmpty || path == "." { return "." }
    let isClean =
      path.utf8.first != UInt8(ascii: "/") && !path.utf8.contains(0)
      && path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { $0 != ".." && !$0.isEmpty }
    guard isClean else { throw DiskError(.permission, operation: operation, path: path, code: EINVAL) }
    return path
  }

  /// Some file systems leave the type out of the entry.
  private func isDirectory(_ type: UInt8, _ folder: String, _ name: String) throws(DiskError) -> Bool {
    guard type == UInt8(DT_UNKNOWN) else { return type == UInt8(DT_DIR) }
    let path = folder.isEmpty ? name : folder + "/" + name
    var status = stat()
    guard fstatat(root.number, path, &status, Int32(AT_SYMLINK_NOFOLLOW)) == 0 else {
      throw DiskError(errno: errno, "stat", path)
    }
    return status.st_mode & S_IFMT == S_IFDIR
  }
}

/// Holds the lock as long as its descriptor is open.
private final class RealLock: DiskLock {
  private let descriptor: Descriptor
  init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
}

/// Owns a file descriptor; closes it with its last use.
struct Descriptor: ~Copyable, Sendable {
  let number: Int32
  init(_ number: Int32) { self.number = number }
  /// Gives the number to somebody who closes it.
  consuming func release() -> Int32 {
    let number = number
    discard self
    return number
  }
  deinit { close(number) }
}

/// Repeats a call that a signal interrupted.
func interruptible<R: SignedInteger>(_ call: () -> R) -> R {
  while true {
    let result = call()
    if result >= 0 || errno != EINTR { return result }
  }
}

extension DiskError {
  /// The class of an errno.
  init(errno code: Int32, _ operation: String, _ path: String) {
    let kind: Kind =
      switch code {
      case ENOENT, ENOTDIR: .notFound
      case EEXIST, ENOTEMPTY: .exists
      case ENOSPC, EDQUOT: .noSpace
      case EWOULDBLOCK: .locked
      case EACCES, EPERM, EROFS, ELOOP: .permission
      case EMFILE, ENFILE: .tooManyFiles
      default: .io
      }
    self.init(kind, operation: operation, path: path, code: code)
  }
}

extension Int64 {
  fileprivate func multipliedClamped(by other: Int64) -> Int64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? .max : product
  }
}
