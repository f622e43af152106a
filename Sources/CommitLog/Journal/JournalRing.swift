import SkeinCore

/// The shape of the ring: how a place of the endless stream maps to a file and an offset in it.
struct JournalGeometry: Sendable, Hashable {
  let fileSize: Int64
  let fileCount: Int
  let blockSize: Int64

  /// Nil unless the numbers are usable; they may come from a damaged file.
  init?(fileSize: Int64, fileCount: Int, blockSize: Int64) {
    guard (512...65536).contains(blockSize), blockSize & (blockSize - 1) == 0,
      (8 * blockSize...1 << 30).contains(fileSize), fileSize % blockSize == 0,
      (2...256).contains(fileCount)
    else { return nil }
    self.fileSize = fileSize
    self.fileCount = fileCount
    self.blockSize = blockSize
  }

  /// Bytes of a file behind its identity block.
  var dataSize: Int64 { fileSize - blockSize }
  /// Bytes of one lap.
  var capacity: Int64 { dataSize * Int64(fileCount) }
  /// Kept free of entries, so that the journal can always say that it was opened or recycled.
  var reserve: Int64 { blockSize * min(64, max(4, capacity / blockSize / 16)) }

  func file(of position: Int64) -> Int { Int(position % capacity / dataSize) }
  func offset(of position: Int64) -> Int64 { position % capacity % dataSize + blockSize }
  /// Bytes from a position to the end of its file.
  func remainder(at position: Int64) -> Int64 { dataSize - position % dataSize }
  func roundedUp(_ count: Int64) -> Int64 { (count + blockSize - 1) & ~(blockSize - 1) }

  /// Where a group of `size` bytes goes when the stream has reached `position`: there, or at the
  /// start of the next file when this one's end is too near.
  func placement(at position: Int64, size: Int64) -> Int64 {
    let left = remainder(at: position)
    return size <= left ? position : position + left
  }
}

/// The open files of a ring.
struct JournalFiles: Sendable {
  let geometry: JournalGeometry
  let files: [any DiskFile]

  /// Writes `parts` at a stream position; they must end in the same file.
  func write(_ parts: [UnsafeRawBufferPointer], at position: Int64) throws(DiskError) {
    try files[geometry.file(of: position)].write(parts, at: geometry.offset(of: position))
  }

  func sync() throws(DiskError) {
    for file in files { try file.sync() }
  }
}

/// A window over one file for readers that look at a few bytes, then at many, mostly onwards.
/// Holds at most the larger of 1 MiB and the largest piece asked for, which callers bound by the file.
struct JournalWindow: ~Copyable {
  private var buffer: UnsafeMutableRawBufferPointer
  private var file: Int = -1
  private var start: Int64 = 0
  private var count = 0
  private let files: JournalFiles

  init(_ files: JournalFiles) {
    self.files = files
    self.buffer = .allocate(byteCount: 0, alignment: 16)
  }

  deinit { buffer.deallocate() }

  /// `length` bytes at stream position `position`, valid until the next call; nil when the file ends
  /// before them.
  mutating func view(_ position: Int64, _ length: Int) throws(LogError) -> UnsafeRawBufferPointer? {
    let geometry = files.geometry
    guard length >= 0, Int64(length) <= geometry.remainder(at: position) else { return nil }
    let index = geometry.file(of: position)
    let offset = geometry.offset(of: position)
    if index != file || offset < start || offset + Int64(length) > start + Int64(count) {
      try load(index, offset, length, limit: geometry.fileSize)
    }
    let from = Int(offset - start)
    guard from + length <= count else { return nil }
    return UnsafeRawBufferPointer(rebasing: buffer[from..<from + length])
  }

  private mutating func load(
    _ index: Int, _ offset: Int64, _ length: Int, limit: Int64
  ) throws(LogError) {
    let wanted = min(Int(limit - offset), max(length, 1 << 20))
    if buffer.count < wanted {
      buffer.deallocate()
      buffer = .allocate(byteCount: wanted, alignment: 16)
    }
    let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
    count = 0
    count = try onDisk { () throws(DiskError) in try files.files[index].read(into: target, at: offset) }
    file = index
    start = offset
  }
}
