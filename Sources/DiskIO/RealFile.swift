internal import CSkeinShims
internal import CommitLog
internal import Glibc

/// An open file; positional calls only, so threads share it without a cursor.
final class RealFile: DiskFile {
  private let descriptor: Descriptor
  private let path: String

  init(_ descriptor: consuming Descriptor, _ path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  func size() throws(DiskError) -> Int64 {
    var status = stat()
    guard fstat(descriptor.number, &status) == 0 else { throw error("stat") }
    return Int64(status.st_size)
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DiskError) -> Int {
    var done = 0
    while done < buffer.count {
      let count = interruptible {
        pread(descriptor.number, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + done)
      }
      guard count >= 0 else { throw error("read") }
      if count == 0 { break }
      done += count
    }
    return done
  }

  func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(DiskError) {
    var vector = parts.compactMap { part in
      part.baseAddress.flatMap { base in
        part.isEmpty ? nil : iovec(iov_base: UnsafeMutableRawPointer(mutating: base), iov_len: part.count)
      }
    }
    var next = 0
    var offset = offset
    while next < vector.count {
      let count = min(vector.count - next, Self.vectorLimit)
      let written = vector.withUnsafeBufferPointer { all in
        interruptible { pwritev(descriptor.number, all.baseAddress! + next, Int32(count), off_t(offset)) }
      }
      guard written > 0 else {
        // A write of zero bytes without an error would loop for ever.
        throw written < 0 ? error("write") : DiskError(.io, operation: "write", path: path)
      }
      offset += Int64(written)
      next = Self.advance(&vector, from: next, by: written)
    }
  }

  func sync() throws(DiskError) {
    // Not repeated on EINTR either: whether the first call saw an error is then unknown.
    guard fdatasync(descriptor.number) == 0 else { throw error("sync") }
  }

  func truncate(to size: Int64) throws(DiskError) {
    guard interruptible({ ftruncate(descriptor.number, off_t(size)) }) == 0 else { throw error("truncate") }
  }

  func allocate(from offset: Int64, count: Int64) throws(DiskError) {
    guard count > 0 else { return }
    let code = skein_fallocate_keeping_size(descriptor.number, offset, count)
    // A file system without reservations: writes find out for themselves.
    if code == 0 || code == EOPNOTSUPP { return }
    throw DiskError(errno: code, "allocate", path)
  }

  func dropCache(from offset: Int64, count: Int64) {
    posix_fadvise(descriptor.number, off_t(offset), off_t(count), POSIX_FADV_DONTNEED)
  }

  /// Skips `count` written bytes; returns the first part that is not wholly written.
  private static func advance(_ vector: inout [iovec], from first: Int, by count: Int) -> Int {
    var next = first
    var left = count
    while next < vector.count, left >= vector[next].iov_len {
      left -= vector[next].iov_len
      next += 1
    }
    if left > 0, next < vector.count {
      vector[next].iov_base += left
      vector[next].iov_len -= left
    }
    return next
  }

  private func error(_ operation: String) -> DiskError {
    DiskError(errno: errno, operation, path)
  }

  private static let vectorLimit: Int = {
    let limit = sysconf(Int32(_SC_IOV_MAX))
    return limit > 0 ? min(limit, 1024) : 16
  }()
}
