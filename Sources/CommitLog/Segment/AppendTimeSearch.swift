internal import RecordFormat
package import SkeinCore
internal import Synchronization

/// What is known of the time at which a record was appended: the broker's clock then, in milliseconds (R60).
package enum AppendTime: Sendable {
  /// There is no record at or behind the offset.
  case none
  case known(Int64)
  /// Execute with `LogDirectory.find` on an I/O thread.
  case search(AppendTimeSearch)
}

package struct AppendTimeSearch: Sendable {
  let store: PartitionStore
  let offset: Int64
  /// The first append of its segment: no later than the answer.
  let atLeast: Int64
}

extension PartitionLog {
  /// When the first record at or behind `offset` was appended. Any thread.
  package func appendTime(from offset: Offset) -> AppendTime {
    store.state.withLock { state in
      let offset = max(offset.rawValue, state.logStart)
      if let entry = state.tail.entry(from: offset) { return .known(entry.facts.appendTime) }
      guard let segment = state.segments.first(covering: offset) else { return .none }
      // The usual one: who has read nothing of it yet.
      if offset <= segment.base { return .known(segment.firstAppendTime) }
      return .search(AppendTimeSearch(store: store, offset: offset, atLeast: segment.firstAppendTime))
    }
  }
}

extension [Segment] {
  /// The segment that holds `offset`, or the next one behind it.
  func first(covering offset: Int64) -> Segment? {
    let start = position(covering: offset) ?? 0
    return self[start...].first { $0.end > offset && $0.size > 0 }
  }
}

/// Executes `AppendTimeSearch`: walks over the frames from the index's entry on, and reads nothing of their batches. What
/// cannot be read is for readers to find: here the segment's first append stands for it.
struct AppendTimeFinder {
  /// Bytes of one read: the frames between two entries of the index, mostly.
  private static let chunk = 32 << 10

  let shared: DirectoryShared
  let search: AppendTimeSearch

  func find() -> Int64? {
    let segment = search.store.state.withLock { $0.segments.first(covering: search.offset) }
    guard let segment else { return nil }
    if search.offset <= segment.base { return segment.firstAppendTime }
    do throws(DiskError) {
      return try walk(segment) ?? segment.firstAppendTime
    } catch {
      return search.atLeast
    }
  }

  private func walk(_ segment: Segment) throws(DiskError) -> Int64? {
    let index = try IndexLoader(shared: shared, store: search.store).index(of: segment)
    var position = index.position(of: search.offset - segment.base) ?? 0
    let file = try shared.files.file(LogPaths.segment(search.store.key, segment))
    var chunk = [UInt8](repeating: 0, count: Self.chunk)
    var (begin, count) = (position, 0)
    // Of the newest record of those that were there: no later than the next one's.
    var emptied: Int64?
    while position < segment.size {
      if position + Int64(StoredFrame.prefixSize) > begin + Int64(count) {
        (begin, count) = (position, try read(file, &chunk, at: position))
        guard count >= StoredFrame.prefixSize else { return nil }
      }
      let place = Int(position - begin)
      guard let frame = chunk.withUnsafeBytes({ frame(UnsafeRawBufferPointer(rebasing: $0[place...])) })
      else {
        return nil
      }
      // Of offsets that compaction took nothing but an empty batch is left: the next record counts.
      if frame.nextOffset > search.offset {
        if frame.length > BatchHeader.size { return frame.appendTime }
        emptied = frame.appendTime
      }
      position += Int64(frame.totalSize)
    }
    return emptied
  }

  private func read(
    _ file: any DiskFile, _ chunk: inout [UInt8], at position: Int64
  ) throws(DiskError) -> Int {
    do {
      return try chunk.withUnsafeMutableBytes { try file.read(into: $0, at: position) }
    } catch let error as DiskError {
      throw error
    } catch {
      return 0
    }
  }

  private func frame(_ bytes: UnsafeRawBufferPointer) -> Frame? {
    do {
      let frame = try Frame(parsing: bytes)
      let header = try BatchHeader(
        parsing: UnsafeRawBufferPointer(rebasing: bytes[Frame.size..<StoredFrame.prefixSize]))
      try frame.verify(key: search.store.key, batchHeader: header)
      return frame
    } catch {
      return nil
    }
  }
}
