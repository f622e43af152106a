internal import SkeinCore

/// The open file of a segment that is being written. Threading: the write-behind thread (and
/// recovery before it exists).
final class SegmentWriter {
  /// Space is reserved ahead in steps of this, in bytes, doubling up to the second.
  private static let firstAllocation: Int64 = 256 << 10
  private static let largestAllocation: Int64 = 16 << 20

  let store: PartitionStore
  let base: Int64
  let path: String
  private let file: any DiskFile
  private var allocated: Int64
  /// Bytes written since the last sync.
  private(set) var unsynced: Int64 = 0
  /// In the write-behind's list of files to sync.
  var isListed = false

  init(store: PartitionStore, segment: Segment, file: any DiskFile, content: Int64) throws(DiskError) {
    self.store = store
    self.base = segment.base
    self.path = LogPaths.segment(store.key, segment)
    self.file = file
    self.allocated = max(content, try file.size())
  }

  /// Writes a run of batches at `position`, in one large write.
  func write(_ run: ArraySlice<TailEntry>, at position: Int64, limit: Int64) throws(DiskError) {
    let bytes = run.reduce(0) { $0 + $1.byteCount }
    try reserve(position + Int64(bytes), limit: limit)
    var parts: [UnsafeRawBufferPointer] = []
    parts.reserveCapacity(run.count * 2)
    for entry in run {
      parts.append(entry.frame.unsafeView)
      parts.append(entry.batch.unsafeView)
    }
    defer { withExtendedLifetime(run) {} }
    try file.write(parts, at: position)
    unsynced += Int64(bytes)
  }

  /// Copies a part of another file to the beginning of this one.
  func copy(_ source: any DiskFile, _ range: Range<Int64>) throws(DiskError) {
    var position = range.lowerBound
    while position < range.upperBound {
      let count = Int(min(range.upperBound - position, 1 << 20))
      let bytes = try source.read(count, at: position)
      try bytes.withUnsafeBytes { buffer throws(DiskError) in
        try file.write([buffer], at: position - range.lowerBound)
      }
      position += Int64(count)
    }
    unsynced += range.upperBound - range.lowerBound
  }

  func sync() throws(DiskError) {
    try file.sync()
    noteSynced()
  }

  /// Everything written so far is durable.
  func noteSynced() { unsynced = 0 }

  /// Gives back what was allocated beyond the content, also by an earlier writer of the file.
  func trim(to content: Int64) throws(DiskError) {
    try file.truncate(to: content)
    allocated = content
  }

  private func reserve(_ end: Int64, limit: Int64) throws(DiskError) {
    guard end > allocated else { return }
    let step = min(max(allocated, Self.firstAllocation), Self.largestAllocation)
    let target = max(end, min(allocated + step, limit))
    try file.allocate(from: allocated, count: target - allocated)
    allocated = target
  }
}

extension SharedBytes {
  /// The bytes; valid while this value's storage lives, which the caller must see to.
  var unsafeView: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: UnsafeRawPointer(storage.base + offset), count: count)
  }
}
