package import SkeinCore

import Glibc

/// A file that may name secrets: read only if it is the caller's own (or root's) and nobody else may look into it.
package enum PrivateFile {
  /// The whole file.
  /// - Throws: `INVALID_REQUEST` naming the file, what is wrong and the cure.
  package static func read(_ path: String, limit: Int) throws(Fault) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else {
      throw Fault(.invalidRequest, "cannot read \(path): \(String(cString: strerror(errno))); check the path")
    }
    defer { close(descriptor) }
    var info = stat()
    guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
      throw Fault(.invalidRequest, "\(path) is not a file; name a file of your own")
    }
    guard info.st_uid == geteuid() || info.st_uid == 0 else {
      throw Fault(
        .invalidRequest, "\(path) belongs to user \(info.st_uid), not to you (\(geteuid())); chown it")
    }
    guard info.st_mode & 0o077 == 0 else {
      throw Fault(
        .invalidRequest,
        "\(path) can be read by others (mode \(String(info.st_mode & 0o777, radix: 8))); run chmod 600 \(path)"
      )
    }
    guard info.st_size <= limit else {
      throw Fault(.invalidRequest, "\(path) has \(info.st_size) bytes; \(limit) are allowed")
    }
    var bytes = [UInt8](repeating: 0, count: limit)
    var count = 0
    while count < limit {
      let more = bytes.withUnsafeMutableBytes {
        Glibc.read(descriptor, $0.baseAddress.map { $0 + count }, limit - count)
      }
      if more < 0 && errno == EINTR { continue }
      guard more >= 0 else {
        throw Fault(
          .invalidRequest, "cannot read \(path): \(String(cString: strerror(errno))); check the disk")
      }
      if more == 0 { break }
      count += more
    }
    return Array(bytes[..<count])
  }
}
