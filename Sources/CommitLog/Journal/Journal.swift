import SkeinCore
import Synchronization

/// The write-ahead log of one log directory: all partitions' appends go here first, one sync makes
/// them durable together, and segments follow behind.
///
/// A ring of fixed, preallocated files that is overwritten in turn, because syncing blocks that were
/// written before costs a fraction of syncing a growing file (Docs/adr/0002-journal.md). Layout, crash
/// argument and evolution rules: Docs/formats/journal.md.
///
/// **Use.** `write` a group, `sync`, acknowledge; once segments hold everything up to a position and
/// are synced, `recycle(through:)`. **Errors.** After a failed write or sync the journal is failed for
/// ever: every later call throws `.offline` (R56). `.journalFull` and `.entryTooLarge` change nothing.
/// **Threading.** One thread at a time, the flusher's; `recycle(through:)`, `freeBytes` and `capacity`
/// may be called from any. Nothing here reads a clock or starts a thread.
///
/// `@unchecked Sendable`: the mutable state outside `shared` is confined to the flusher.
package final class Journal: @unchecked Sendable {
  /// What other threads may touch.
  struct Shared {
    /// The oldest place that recovery still needs.
    var head: JournalPosition
    /// Where the next group goes.
    var tail: Int64
  }

  let id: JournalID
  let files: JournalFiles
  let run: UInt32
  let runStart: UInt64
  let breakage: JournalConfiguration.Breakage
  let shared: Mutex<Shared>

  /// The end of what was written.
  package internal(set) var written: JournalPosition
  /// The end of what is known to be synced.
  package internal(set) var durable: JournalPosition
  /// The checksum of the last header written.
  var previous: UInt32
  /// The head that the last written group names, and the one that is durable: only space before the
  /// durable one may be overwritten.
  var writtenHead: JournalPosition
  var durableHead: JournalPosition

  private var dirty: Set<Int> = []
  private var failure: DiskError?
  private var scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)

  /// Continues a ring at the place that recovery found.
  init(
    id: JournalID, files: JournalFiles, run: UInt32, breakage: JournalConfiguration.Breakage,
    written: JournalPosition, previous: UInt32, head: JournalPosition, durableHead: JournalPosition
  ) {
    self.id = id
    self.files = files
    self.run = run
    self.runStart = written.sequence + 1
    self.breakage = breakage
    self.written = written
    self.durable = written
    self.previous = previous
    self.writtenHead = head
    self.durableHead = durableHead
    self.shared = Mutex(Shared(head: head, tail: written.offset))
  }

  deinit { scratch.deallocate() }

  /// Bytes of entries that the ring can hold, headers and padding included.
  package var capacity: Int64 { files.geometry.capacity - files.geometry.reserve }

  /// How many of them are free. A group needs up to the size of its largest entry more than its own
  /// bytes, for the unused end of a file.
  package var freeBytes: Int64 {
    shared.withLock { max(0, capacity - ($0.tail - $0.head.offset)) }
  }

  /// The largest payload of one entry.
  package var largestPayload: Int64 {
    files.geometry.dataSize - Int64(2 * JournalFormat.headerSize + JournalCommit.size(rows: 1))
  }

  /// Writes a group and its commit entry with one vectored write (two when it meets the end of a file),
  /// straight from the entries' parts. Not durable before `sync`. Returns the group's end.
  /// - Throws: `.journalFull`, `.entryTooLarge`: nothing was written. `.offline`: failed for ever.
  package func write(_ group: [JournalEntry]) throws(LogError) -> JournalPosition {
    try checkUsable()
    if group.isEmpty { return written }
    var pieces = try plan(group, from: written.offset)
    if !fits(pieces, durableHead) {
      // Recycled space may be used only once the ring says durably that it is recycled: otherwise
      // a torn write here would look like damage to entries that were still needed.
      let head = currentHead()
      pieces = try plan(group, from: written.offset + files.geometry.blockSize)
      guard fits(pieces, head) else { throw full(pieces, head) }
      try announce()
      pieces = try plan(group, from: written.offset)
      guard fits(pieces, durableHead) else { throw full(pieces, head) }
    }
    for piece in pieces { try write(piece, of: group) }
    return written
  }

  /// Makes everything written durable; two files are synced when a group met the end of one.
  /// - Throws: `.offline`: nothing since the last sync may be acknowledged, now or later (R56).
  package func sync() throws(LogError) {
    try checkUsable()
    for index in dirty.sorted() {
      do throws(DiskError) {
        if breakage.contains(.noSync) { continue }
        try files.files[index].sync()
      } catch {
        if breakage.contains(.retryFailedSync), (try? files.files[index].sync()) != nil { continue }
        throw fail(error)
      }
    }
    dirty.removeAll(keepingCapacity: true)
    durable = written
    durableHead = writtenHead
  }

  /// Gives back the space of everything before `position`: segments that hold it are synced. Takes
  /// effect with the next groups. A position that is not yet durable counts as far as it is.
  package func recycle(through position: JournalPosition) throws(LogError) {
    shared.withLock { if $0.head < position { $0.head = position } }
  }

  /// Syncs what was written and leaves a witness behind it, so that damage to the last group is told
  /// from a torn write. For a clean end; later calls are allowed.
  package func close() throws(LogError) {
    try sync()
    // On a full ring the last group goes without.
    let end = written.offset + files.geometry.blockSize
    if end - durableHead.offset <= files.geometry.capacity { try announce() }
  }

  // MARK: Space

  private func currentHead() -> JournalPosition {
    if breakage.contains(.recycleUnsynced) { return durable }
    let head = shared.withLock { $0.head }
    return head < durable ? head : durable
  }

  private func fits(_ pieces: [JournalPiece], _ head: JournalPosition) -> Bool {
    let limit = breakage.contains(.reuseBeforeHeadIsDurable) ? currentHead() : head
    return pieces.last.map { $0.end - limit.offset <= capacity } ?? true
  }

  private func full(_ pieces: [JournalPiece], _ head: JournalPosition) -> LogError {
    let needed = (pieces.last?.end ?? written.offset) - written.offset
    return .journalFull(needed: needed, free: max(0, capacity - (written.offset - head.offset)))
  }

  /// Writes and syncs an empty group: it names this run, the current head and what is durable. Uses
  /// the reserve.
  func announce() throws(LogError) {
    try checkUsable()
    let size = files.geometry.blockSize
    let piece = JournalPiece(
      entries: 0..<0, position: files.geometry.placement(at: written.offset, size: size),
      size: JournalFormat.headerSize + JournalCommit.size(rows: 0), end: 0, rows: [])
    try write(piece, of: [])
    try sync()
  }

  private func plan(_ group: [JournalEntry], from tail: Int64) throws(LogError) -> [JournalPiece] {
    try JournalPiece.plan(group, from: tail, geometry: files.geometry)
  }

  // MARK: Writing

  private func write(_ piece: JournalPiece, of group: [JournalEntry]) throws(LogError) {
    let head = currentHead()
    var encoder = JournalEncoder(
      scratch: reserveScratch(piece.scratchSize(of: group, files.geometry)), id: id, run: run,
      position: piece.position, sequence: written.sequence, durableThrough: durable.sequence,
      previous: previous)
    for index in piece.entries { encoder.append(group[index]) }
    encoder.finish(
      JournalCommit(head: head, runStart: runStart, entryCount: UInt32(piece.entries.count), rows: piece.rows)
    )
    encoder.pad(to: files.geometry.blockSize)

    let index = files.geometry.file(of: piece.position)
    let parts = encoder.parts
    do throws(DiskError) {
      try withExtendedLifetime(group) { () throws(DiskError) in
        try files.write(parts, at: piece.position)
      }
    } catch { throw fail(error) }
    dirty.insert(index)
    previous = encoder.previous
    writtenHead = head
    written = JournalPosition(offset: encoder.position, sequence: encoder.sequence)
    shared.withLock { $0.tail = written.offset }
  }

  private func reserveScratch(_ size: Int) -> UnsafeMutableRawBufferPointer {
    if scratch.count < size {
      scratch.deallocate()
      scratch = .allocate(byteCount: size, alignment: 16)
    }
    return scratch
  }

  private func checkUsable() throws(LogError) {
    if let failure { throw .offline(failure) }
  }

  private func fail(_ error: DiskError) -> LogError {
    failure = error
    return .offline(error)
  }
}
