internal import RecordFormat
internal import SkeinCore

/// Walks the frames of a segment file in order: to rebuild an index, and in recovery.
///
/// Memory is bounded by one chunk or one batch; lengths are compared with the bytes at hand first.
struct SegmentScan {
  /// Where and why a scan ended.
  struct End {
    /// Just after the last good batch.
    var position: Int64
    var nextOffset: Int64
    /// Of the last good batch.
    var epoch: Int32
    /// Nil when the scan reached its limit.
    var flaw: StoredFlaw?
    /// The visitor refused the batch at `position`.
    var isStopped = false
  }

  static let chunkBytes = 256 * 1024

  let file: any DiskFile
  let key: TopicPartition
  /// Also check the records' CRC, not only frame and header.
  let verifyPayload: Bool

  /// Visits batches from `position` up to the byte `limit`, as long as they are contiguous from
  /// `offset` on and their epochs do not fall.
  /// - Parameter most: stops, without a flaw, at the first chunk's end beyond so many bytes.
  func run(
    from position: Int64, to limit: Int64, offset: Int64, epoch: Int32 = 0, most: Int64 = .max,
    visit: (BatchFacts, Int64) -> Void
  ) throws(DiskError) -> End {
    try batches(from: position, to: limit, offset: offset, epoch: epoch, most: most) { facts, place, _ in
      visit(facts, place)
      return true
    }
  }

  /// As `run`, with frame and batch at hand, and only as long as `take` returns true.
  func batches(
    from position: Int64, to limit: Int64, offset: Int64, epoch: Int32 = 0, most: Int64 = .max,
    take: (BatchFacts, Int64, SharedBytes) -> Bool
  ) throws(DiskError) -> End {
    var end = End(position: position, nextOffset: offset, epoch: epoch)
    var wanted = Self.chunkBytes
    while end.position < limit, end.position - position < most {
      let capacity = Int(min(Int64(wanted), limit - end.position))
      let storage = SharedBytes.Storage(capacity: capacity)
      let buffer = UnsafeMutableRawBufferPointer(start: storage.base, count: capacity)
      let count = try file.read(into: buffer, at: end.position)
      guard count > 0 else {
        end.flaw = .damaged("the file ends before its content")
        return end
      }
      let chunk = SharedBytes(storage, offset: 0, count: count)
      let start = end.position
      let flaw = walk(chunk, at: start, &end, take)
      if end.isStopped { return end }
      switch flaw {
      case nil: wanted = Self.chunkBytes
      case .incomplete(let needed)? where end.position > start || needed > count:
        // The next batch goes beyond this chunk: continue with it, unless the file ends there.
        guard Int64(needed) <= limit - end.position, count == capacity else {
          end.flaw = flaw
          return end
        }
        wanted = max(needed, Self.chunkBytes)
      case let flaw?:
        end.flaw = flaw
        return end
      }
    }
    return end
  }

  private func walk(
    _ chunk: SharedBytes, at start: Int64, _ end: inout End,
    _ take: (BatchFacts, Int64, SharedBytes) -> Bool
  ) -> StoredFlaw? {
    var cursor = 0
    while cursor < chunk.count {
      let parsed = chunk.withUnsafeBytes {
        StoredFrame.parse(
          UnsafeRawBufferPointer(rebasing: $0[cursor...]), key: key, verifyPayload: verifyPayload)
      }
      switch parsed {
      case .failure(let flaw): return flaw
      case .success(let facts):
        guard facts.base == end.nextOffset else {
          return .damaged("offset \(facts.base) where \(end.nextOffset) was due")
        }
        guard facts.epoch >= end.epoch else {
          return .damaged("epoch \(facts.epoch) after \(end.epoch)")
        }
        guard take(facts, start + Int64(cursor), chunk.slice(cursor..<cursor + facts.byteCount)) else {
          end.isStopped = true
          return nil
        }
        cursor += facts.byteCount
        end.epoch = facts.epoch
        end.position = start + Int64(cursor)
        end.nextOffset = facts.end
      }
    }
    return nil
  }
}
