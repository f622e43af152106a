package import SkeinCore

import Glibc

/// A folder for secrets: made with mode 0700, refused unless it is the caller's own and nobody else
/// may enter it. Files are written with mode 0600, whole or not at all.
package struct PrivateDirectory: Sendable {
  package let path: String

  /// Creates `path` (its parent must exist), or checks one that is there.
  package init(preparing path: String) throws(Fault) {
    if mkdir(path, 0o700) != 0 && errno != EEXIST {
      throw Self.fault("cannot create the folder \(path)", errno, "choose a path whose parent exists")
    }
    var info = stat()
    guard lstat(path, &info) == 0 else {
      throw Self.fault("cannot look at \(path)", errno, "check the path")
    }
    guard info.st_mode & S_IFMT == S_IFDIR else {
      throw Fault(.invalidRequest, "\(path) is not a folder; name a folder of your own")
    }
    guard info.st_uid == geteuid() else {
      throw Fault(
        .invalidRequest,
        "\(path) belongs to user \(info.st_uid), not to you (\(geteuid())); keys are only kept in your own folder"
      )
    }
    guard info.st_mode & 0o077 == 0 else {
      throw Fault(
        .invalidRequest,
        "\(path) can be entered by others (mode \(String(info.st_mode & 0o777, radix: 8))); run chmod 700 \(path)"
      )
    }
    // Also when it was there: its maker may have died between mkdir and sync (R50).
    try Self.sync(Self.parent(of: path))
    self.path = path
  }

  /// A folder inside this one.
  package func folder(_ name: String) throws(Fault) -> PrivateDirectory {
    try PrivateDirectory(preparing: path + "/" + name)
  }

  package func contains(_ name: String) -> Bool { access(path + "/" + name, F_OK) == 0 }

  /// Replaces the file `name`: written beside, synced, renamed (R50).
  package func write(_ bytes: [UInt8], to name: String) throws(Fault) {
    let target = path + "/" + name
    let draft = target + ".tmp"
    let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw Self.fault("cannot write \(draft)", errno, "check the folder") }
    defer { close(descriptor) }
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress.map { $0 + written }, bytes.count - written)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw Self.fault("cannot write \(draft)", errno, "check the disk") }
      written += count
    }
    guard fsync(descriptor) == 0, rename(draft, target) == 0 else {
      throw Self.fault("cannot finish \(target)", errno, "check the disk")
    }
    try Self.sync(path)
  }

  /// A whole file, at most 1 MiB.
  package func read(_ name: String) throws(Fault) -> [UInt8] {
    let file = path + "/" + name
    let descriptor = open(file, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Self.fault("cannot read \(file)", errno, "check the path") }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while bytes.count <= 1 << 20 {
      let count = chunk.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw Self.fault("cannot read \(file)", errno, "check the disk") }
      if count == 0 { return bytes }
      bytes += chunk[..<count]
    }
    throw Fault(.invalidRequest, "\(file) is larger than 1 MiB; that is no certificate, key or context")
  }

  private static func parent(of path: String) -> String {
    var path = path[...]
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// Makes the names in `folder` durable. One that may not be read (somebody else's parent folder)
  /// cannot be synced and was not made by us.
  private static func sync(_ folder: String) throws(Fault) {
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor < 0 && errno == EACCES { return }
    guard descriptor >= 0 else { throw fault("cannot open \(folder)", errno, "check the path") }
    defer { close(descriptor) }
    // EINVAL: a file system without directory syncs.
    guard fsync(descriptor) == 0 || errno == EINVAL else {
      throw fault("cannot sync \(folder)", errno, "check the disk")
    }
  }

  private static func fault(_ what: String, _ code: Int32, _ cure: String) -> Fault {
    Fault(.invalidRequest, "\(what): \(String(cString: strerror(code))); \(cure)")
  }
}
