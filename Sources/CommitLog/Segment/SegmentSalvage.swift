internal import SkeinCore
internal import Synchronization

/// Cuts damage out of one segment after an operator accepted its loss (R52): every intact batch is
/// kept, in place before the first flaw, copied into a new segment behind each. The gaps stay gaps.
///
/// Threading: the write-behind thread. The partition is offline meanwhile.
struct SegmentSalvage {
  let shared: DirectoryShared
  let store: PartitionStore
  let files: SegmentFiles

  /// What is left of `segment`: itself if it is whole.
  func run(_ segment: Segment) throws(DiskError) -> [Segment] {
    guard let file = try open(segment) else { return [Self.emptied(segment)] }
    let scan = SegmentScan(file: file, key: store.key, verifyPayload: true)
    let limit = min(segment.size, try file.size())
    var kept = Self.emptied(segment)
    var end = try scan.run(from: 0, to: limit, offset: segment.base) { facts, _ in kept.note(facts) }
    if end.flaw == nil && end.nextOffset == segment.end { return [segment] }
    kept.isSealed = true
    kept.index = nil
    var pieces = [kept]
    while let found = try scan.nextIntact(after: end, limit: limit) {
      // The generation keeps its name apart from files that wait for their removal.
      var piece = Segment(base: found.offset, generation: segment.generation)
      let start = found.position
      end = try scan.run(from: start, to: limit, offset: found.offset, epoch: end.epoch) { facts, _ in
        piece.note(facts)
      }
      piece.isSealed = true
      piece.index = nil
      try files.copy(file, start..<end.position, to: piece, of: store)
      pieces.append(piece)
    }
    shared.indexes.forget(IndexCache.Key(store.key, segment))
    return pieces
  }

  /// Nil when the file is gone.
  private func open(_ segment: Segment) throws(DiskError) -> (any DiskFile)? {
    do throws(DiskError) {
      return try shared.disk.open(LogPaths.segment(store.key, segment), .readOnly)
    } catch {
      guard error.kind == .notFound else { throw error }
      return nil
    }
  }

  private static func emptied(_ segment: Segment) -> Segment {
    var empty = Segment(base: segment.base, generation: segment.generation)
    empty.tombstonesUntil = segment.tombstonesUntil
    empty.isSealed = true
    empty.firstAppendTime = segment.firstAppendTime
    empty.lastAppendTime = segment.lastAppendTime
    return empty
  }
}

extension SegmentScan {
  /// The next place behind a flaw where a batch of this partition lies intact, at or above the
  /// offset that was due. Bytes of an older life of the file have lower offsets and do not count.
  func nextIntact(
    after end: End, limit: Int64
  ) throws(DiskError) -> (position: Int64, offset: Int64)? {
    let window: Int64 = 1 << 20
    var position = end.position + 1
    while position < limit {
      let count = Int(min(window, limit - position))
      let bytes = try file.read(count, at: position)
      for index in candidates(in: bytes, atLeast: end.nextOffset) {
        let place = position + Int64(index)
        let found = try run(
          from: place, to: limit, offset: base(bytes, index), epoch: end.epoch
        ) { _, _ in }
        if found.position > place { return (place, base(bytes, index)) }
      }
      // Windows overlap by a frame and a header, so that none is missed between them.
      position += Int64(max(count - StoredFrame.prefixSize, 1))
    }
    return nil
  }

  /// Where frames of this partition begin in `bytes`.
  private func candidates(in bytes: SharedBytes, atLeast offset: Int64) -> [Int] {
    bytes.withUnsafeBytes { buffer in
      buffer.indices.filter { index in
        guard buffer[index] == StoredFrame.firstByte else { return false }
        let rest = UnsafeRawBufferPointer(rebasing: buffer[index...])
        return StoredFrame.plausibleBase(rest, key: key).map { $0 >= offset } ?? false
      }
    }
  }

  private func base(_ bytes: SharedBytes, _ index: Int) -> Int64 {
    bytes.withUnsafeBytes { buffer in
      StoredFrame.plausibleBase(UnsafeRawBufferPointer(rebasing: buffer[index...]), key: key) ?? 0
    }
  }
}
