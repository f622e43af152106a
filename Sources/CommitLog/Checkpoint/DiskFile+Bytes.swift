internal import SkeinCore

/// Whole arrays in and out of files, for small files and cold paths.
extension DiskFile {
  func write(_ bytes: [UInt8], at offset: Int64) throws(DiskError) {
    try SharedBytes(bytes).withUnsafeBytes { buffer throws(DiskError) in try write([buffer], at: offset) }
  }

  /// Up to `count` bytes, fewer at the end of the file. The caller has bounded `count`.
  func read(_ count: Int, at offset: Int64) throws(DiskError) -> SharedBytes {
    let storage = SharedBytes.Storage(capacity: count)
    let got = try read(into: UnsafeMutableRawBufferPointer(start: storage.base, count: count), at: offset)
    return SharedBytes(storage, offset: 0, count: got)
  }
}
