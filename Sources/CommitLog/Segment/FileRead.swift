package import SkeinCore
internal import Synchronization

/// A read that memory cannot serve; execute it with `LogDirectory.read` on an I/O thread.
package struct FileRead: Sendable {
  let store: PartitionStore
  /// First offset wanted.
  let from: Int64
  /// Batches end at or below it.
  let limit: Int64
  let maxBytes: Int

  package var key: TopicPartition { store.key }
}

/// Whole v2 batches, verified, slices of one buffer.
package struct FileReadResult: Sendable {
  package var batches: [SharedBytes]
  /// Where to go on reading.
  package var next: Offset
}

/// Executes `FileRead`: finds the segment, loads its index, reads one chunk, verifies frames and
/// CRCs. Threading: any I/O thread; blocks.
struct SegmentReader {
  let shared: DirectoryShared
  let store: PartitionStore
  /// Pays for the buffer that the batches are slices of.
  let budget: MemoryBudget?

  private enum Failure: Error {
    /// The index led astray: read from the segment's beginning.
    case badIndex
    case damaged(String)
    /// The disk refused to give the bytes.
    case unreadable(DiskError)
    case noMemory(Int)
    case tooManyFiles(DiskError)
  }

  func read(_ plan: FileRead) throws(Fault) -> FileReadResult {
    var trustIndex = true
    // Each turn but the last may find that retention or a bad index interfered.
    for _ in 0..<4 {
      let segment: Segment
      switch locate(plan.from) {
      case .segment(let found): segment = found
      case .gap(let end): return FileReadResult(batches: [], next: Offset(min(end, plan.limit)))
      case .deleted: throw gone(plan)
      }
      do throws(Failure) {
        return try read(plan, in: segment, trustIndex: trustIndex)
      } catch {
        switch error {
        case .badIndex where trustIndex:
          shared.indexes.forget(.init(store.key, segment))
          trustIndex = false
        case .badIndex:
          throw condemn(segment, "its batches do not begin where the segment does")
        case .damaged(let why):
          // Retention and cleaner take a segment out of the table before its file is touched.
          if !isLive(segment) { continue }
          throw condemn(segment, why)
        case .unreadable(let error):
          if !isLive(segment) { continue }
          throw condemn(segment, error)
        case .noMemory(let bytes):
          throw Fault(
            .overloaded, "the memory budget has no \(bytes) bytes left for this read",
            retryAfterMilliseconds: 50)
        case .tooManyFiles(let error):
          throw Fault(.overloaded, "too many open files: \(error)", retryAfterMilliseconds: 100)
        }
      }
    }
    throw gone(plan)
  }

  // MARK: Finding

  private enum Place {
    /// It holds the offset, or is the next one after a gap.
    case segment(Segment)
    /// Everything from the offset up to the end of the segments was lost, and that was accepted.
    case gap(end: Int64)
    case deleted
  }

  private func locate(_ offset: Int64) -> Place {
    store.state.withLock { state in
      guard offset >= state.logStart, !state.isDeleted else { return .deleted }
      let start = state.segments.position(covering: offset) ?? 0
      if let found = state.segments[start...].first(where: { $0.end > offset && $0.size > 0 }) {
        return .segment(found)
      }
      return offset < state.writtenEnd ? .gap(end: state.writtenEnd) : .deleted
    }
  }

  private func isLive(_ segment: Segment) -> Bool {
    store.state.withLock { state in
      !state.isDeleted && state.segments.contains { $0.isSameFile(as: segment) }
    }
  }

  private func startPosition(_ plan: FileRead, _ segment: Segment) throws(Failure) -> Int64 {
    let relative = max(plan.from - segment.base, 0)
    let index = try disk { () throws(DiskError) in
      try IndexLoader(shared: shared, store: store).index(of: segment)
    }
    return index.position(of: relative) ?? 0
  }

  // MARK: Reading

  private func read(
    _ plan: FileRead, in segment: Segment, trustIndex: Bool
  ) throws(Failure) -> FileReadResult {
    var position: Int64 = 0
    if trustIndex { position = try startPosition(plan, segment) }
    let path = LogPaths.segment(store.key, segment)
    let file = try disk { () throws(DiskError) in try shared.files.file(path) }
    var collected = BatchCollector(key: store.key, plan: plan, segmentBase: segment.base)
    var wanted = plan.maxBytes + Int(SegmentIndex.interval) * 2
    while position < segment.size {
      let count = Int(min(Int64(wanted), segment.size - position))
      let chunk = try load(file, position, count)
      switch collected.take(chunk) {
      case .done: return collected.result
      case .astray: throw .badIndex
      case .damaged(let why): throw .damaged(why)
      case .more(let consumed, let needed):
        if needed > count && Int64(needed) > segment.size - position - Int64(consumed) {
          throw .damaged("a batch reaches beyond the segment's end")
        }
        position += Int64(consumed)
        wanted = max(needed, wanted)
      }
    }
    return collected.result
  }

  private func load(_ file: any DiskFile, _ position: Int64, _ count: Int) throws(Failure) -> SharedBytes {
    var reservation: MemoryBudget.Reservation?
    if let budget {
      reservation = budget.reserve(count)
      if reservation == nil { throw .noMemory(count) }
    }
    let storage = SharedBytes.Storage(capacity: count, reservation: reservation)
    let got = try disk { () throws(DiskError) in
      try file.read(
        into: UnsafeMutableRawBufferPointer(start: storage.base, count: count), at: position)
    }
    guard got == count else { throw .damaged("the file is shorter than its content") }
    return SharedBytes(storage, offset: 0, count: count)
  }

  /// What a refused file operation means for a cold read.
  private func disk<R>(_ body: () throws(DiskError) -> R) throws(Failure) -> R {
    do throws(DiskError) { return try body() } catch {
      switch error.kind {
      case .tooManyFiles: throw .tooManyFiles(error)
      default: throw .unreadable(error)
      }
    }
  }

  // MARK: Refusals

  private func gone(_ plan: FileRead) -> Fault {
    let start = store.state.withLock { $0.logStart }
    return Fault(
      .offsetOutOfRange,
      "offset \(plan.from) of partition \(store.key.partition) was deleted; the log begins at \(start)",
      metadata: ["offset": String(plan.from), "log_start_offset": String(start)])
  }

  /// A sealed segment that cannot be read concerns its partition. At the active tail the whole directory goes
  /// offline (R56): the same disk would take the next appends.
  private func condemn(_ segment: Segment, _ error: DiskError) -> Fault {
    let isSealed = store.state.withLock { state in
      state.segments.first { $0.isSameFile(as: segment) }?.isSealed ?? true
    }
    guard !isSealed, error.kind == .io else { return condemn(segment, "\(error)") }
    shared.takeOffline(.offline(error))
    return shared.offlineFault
  }

  /// Takes the partition offline (R52): a checksum that fails on a cold read is never served.
  private func condemn(_ segment: Segment, _ why: String) -> Fault {
    let text = "segment \(segment.base): \(why)"
    store.condemn(text)
    return PartitionLog.corruptFault(store.key, text)
  }
}
