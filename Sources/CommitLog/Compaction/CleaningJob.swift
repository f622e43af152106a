internal import RecordFormat
internal import SkeinCore
internal import Synchronization

/// One round of the cleaner in one partition: what it works on, what it knows, where it stands.
/// Confined to one thread at a time.
final class CleaningJob {
  let store: PartitionStore
  let settings: PartitionSettings
  let sources: [Segment]
  /// Where the map begins.
  let dirtyStart: Int64
  /// The wall clock at the beginning, in milliseconds: what is due by then may go.
  let now: Int64
  /// The newest record of each key in `dirtyStart ..< mapEnd`.
  var map: KeyMap
  /// The map has all keys below; tombstones below it are passed in this round.
  var mapEnd: Int64
  /// The map was full before the last source's end.
  var isPartial = false
  /// Records whose key is too long for the map: nothing replaces them, and they replace nothing.
  private(set) var keysTooLong = 0
  /// Base offsets of the producers' newest batches: these stay, even without records (P8).
  let newestBatches: Set<Int64>
  var groups: [[Segment]] = []

  // Where the round stands: a source when mapping; a group and a source in it when sifting.
  var group = 0
  var source = 0
  var place: SegmentScan.End
  /// Nil while nothing in a group of one segment has changed: then its file may stay.
  var rewriter: SegmentRewriter?

  init(_ choice: CleaningChoice, now: Int64, memory: Int, breakages: Set<LogBreakage>) {
    store = choice.store
    settings = choice.settings
    self.now = now
    let onlyTombstones = choice.dirtyShare == 0
    sources = choice.sources
    let first = sources.first?.base ?? 0
    let end = sources.last?.end ?? 0
    dirtyStart = min(max(choice.cleanedEnd, first), end)
    mapEnd = dirtyStart
    // A small partition's round costs little memory, whatever the limit; but any key fits that may be sent.
    let dirty = sources.reduce(Int64(0)) { $0 + ($1.end > choice.cleanedEnd ? $1.size : 0) }
    let wanted = onlyTombstones ? 1024 : max(dirty * 8, 16 << 20)
    map = KeyMap(
      memory: Int(min(Int64(memory), wanted)), trustsHash: breakages.contains(.compactTrustsHash))
    newestBatches = breakages.contains(.compactForgetsProducers) ? [] : Self.newest(choice.store)
    if onlyTombstones {
      groups = sources.filter { $0.tombstonesUntil != .min && $0.tombstonesUntil <= now }.map { [$0] }
    }
    place = SegmentScan.End(position: 0, nextOffset: first, epoch: 0)
  }

  private static func newest(_ store: PartitionStore) -> Set<Int64> {
    store.state.withLock { state in
      Set(state.producers.entries.values.compactMap { $0.newest?.base })
    }
  }

  /// Goes to the beginning of a segment.
  func begin(_ segment: Segment) {
    place = SegmentScan.End(position: 0, nextOffset: segment.base, epoch: 0)
  }

  // MARK: Mapping

  /// Takes a batch's keys into the map; false when the map is full.
  func note(_ facts: BatchFacts, _ stored: SharedBytes, _ sieve: inout BatchSieve) -> Bool {
    guard facts.end > dirtyStart, let batch = Batch(facts, stored), !batch.isOpaque else { return true }
    do throws(BatchError) {
      return try stored.withUnsafeBytes { (bytes) throws(BatchError) -> Bool in
        let records = UnsafeRawBufferPointer(rebasing: bytes[Frame.size...])
        return try sieve.forEach(records, looksAhead: map.isLarge, ahead: { map.expect($0) }) { item in
          guard item.offset >= dirtyStart, let key = item.key else { return true }
          guard map.fits(key) else {
            keysTooLong += 1
            return true
          }
          if map.note(key, offset: item.offset) { return true }
          mapEnd = item.offset
          return false
        }
      }
    } catch {
      // It cannot be read: it supersedes nothing.
      return true
    }
  }

  // MARK: Sifting

  /// What becomes of a batch.
  enum Fate {
    case stays(tombstonesUntil: Int64?)
    /// An empty batch of the cleaner's, or of a producer that has gone on since: no loss, no gain.
    case vanishes
    case emptied(keepsProducer: Bool)
    case shrinks(SharedBytes, tombstonesUntil: Int64?)
  }

  /// Records that `judge` has let go, for the statistics.
  private(set) var dropped = 0
  private(set) var droppedTombstones = 0

  /// The group is written from its beginning, or the next one begins.
  func countAgain() { (dropped, droppedTombstones) = (0, 0) }

  /// - Parameter clock: the broker's clock now, in milliseconds: tombstones' time counts from here.
  func judge(
    _ batch: Batch, _ stored: SharedBytes, clock: Int64, _ sieve: inout BatchSieve,
    _ breakages: Set<LogBreakage>
  ) -> Fate {
    let header = batch.header
    if batch.isOpaque { return .stays(tombstonesUntil: nil) }
    if header.recordCount == 0 { return isNewest(header) ? .stays(tombstonesUntil: nil) : .vanishes }
    let isDue = header.deleteHorizon.map { $0 <= now } ?? false
    let drops = isDue || breakages.contains(.compactDropsTombstonesAtOnce)
    // Marked in the round that passes all of it and no other; until then older values may be left.
    let passes = batch.facts.end > dirtyStart && batch.facts.end <= mapEnd
    let records = stored.slice(Frame.size..<stored.count)
    do throws(BatchError) {
      var sifted = try sift(
        records, mark: passes ? clock + settings.tombstoneMilliseconds : nil, drops: drops, &sieve, breakages)
      // A tombstone whose key the map cannot hold replaces nothing: if it went, older values were back.
      if passes, sifted.hasLongTombstone {
        sifted = try sift(records, mark: nil, drops: drops, &sieve, breakages)
      }
      return settle(sifted, header)
    } catch {
      // Nobody can read it; whoever tries is told so, before and after.
      return .stays(tombstonesUntil: nil)
    }
  }

  private struct Sifted {
    var outcome = BatchSieve.Outcome.emptied
    var records = 0
    var tombstones = 0
    var hasLongTombstone = false
    var mark: Int64?
  }

  private func sift(
    _ batch: SharedBytes, mark: Int64?, drops: Bool, _ sieve: inout BatchSieve, _ breakages: Set<LogBreakage>
  ) throws(BatchError) -> Sifted {
    var found = Sifted(mark: mark)
    found.outcome = try batch.withUnsafeBytes { (bytes) throws(BatchError) in
      try sieve.sift(bytes, horizon: mark, looksAhead: map.isLarge, ahead: { map.expect($0) }) { item in
        guard let key = item.key else { return true }
        if let newest = map.newest(key), isSuperseded(item.offset, by: newest, breakages) {
          found.records += 1
          return false
        }
        guard item.isTombstone else { return true }
        found.tombstones += drops ? 1 : 0
        found.hasLongTombstone = found.hasLongTombstone || !map.fits(key)
        return !drops
      }
    }
    return found
  }

  private func settle(_ sifted: Sifted, _ header: BatchHeader) -> Fate {
    if case .unchanged(let hasTombstones) = sifted.outcome {
      return .stays(tombstonesUntil: hasTombstones ? header.deleteHorizon : nil)
    }
    dropped += sifted.records
    droppedTombstones += sifted.tombstones
    guard case .rewritten(let copy, let hasTombstones) = sifted.outcome else {
      return .emptied(keepsProducer: isNewest(header))
    }
    return .shrinks(copy, tombstonesUntil: hasTombstones ? header.deleteHorizon ?? sifted.mark : nil)
  }

  private func isSuperseded(_ offset: Int64, by newest: Int64, _ breakages: Set<LogBreakage>) -> Bool {
    breakages.contains(.compactKeepsFirst) ? newest == offset && offset > dirtyStart : newest > offset
  }

  private func isNewest(_ header: BatchHeader) -> Bool {
    header.isIdempotent && newestBatches.contains(header.baseOffset)
  }

  /// A stored batch, parsed as far as the cleaner must know it.
  struct Batch {
    let facts: BatchFacts
    let frame: Frame
    let header: BatchHeader

    /// The bytes were verified; nil cannot happen.
    init?(_ facts: BatchFacts, _ stored: SharedBytes) {
      let parsed = stored.withUnsafeBytes { bytes -> (Frame, BatchHeader)? in
        guard let frame = try? Frame(parsing: bytes),
          let header = try? BatchHeader(parsing: UnsafeRawBufferPointer(rebasing: bytes[Frame.size...]))
        else { return nil }
        return (frame, header)
      }
      guard let parsed else { return nil }
      self.facts = facts
      (frame, header) = parsed
    }

    /// The broker's own, part of a transaction, or encrypted: not for the cleaner to touch.
    var isOpaque: Bool { header.isControl || header.isTransactional || frame.isEncrypted }
  }
}
