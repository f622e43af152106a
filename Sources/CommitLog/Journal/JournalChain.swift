import SkeinCore

/// What the groups found in a ring mean: which of them are the journal, where it ends, and where it
/// is damaged. Pure: the same groups give the same answer.
struct JournalChain: Sendable {
  /// A hole in front of a group of the chain.
  struct Hole: Sendable, Hashable {
    /// Between which places of the stream.
    var places: Range<Int64>
    /// Which sequence numbers are missing.
    var sequences: Range<UInt64>
    /// The place in `groups` of the group behind it.
    var before: Int
  }

  private(set) var groups: [JournalGroup] = []
  private(set) var holes: [Hole] = []
  /// The oldest place that is needed.
  let head: JournalPosition
  /// Where the next group goes.
  private(set) var end: JournalPosition
  /// The checksum that it must name.
  private(set) var previous: UInt32
  let runs: JournalRuns
  /// The highest run seen anywhere in the ring.
  let lastRun: UInt32
  /// Whole groups behind the end that nobody was told about.
  private(set) var cut: Int = 0
  /// The last sequence number that some group of the chain knows to be durable.
  private(set) var witnessed: UInt64 = 0
  /// The newest head that a group before the end names: no space from there on was overwritten.
  private(set) var namedHead: JournalPosition

  /// - Parameter found: every whole group of the ring, in any order.
  init(_ found: [JournalGroup], geometry: JournalGeometry, breakage: JournalConfiguration.Breakage = []) {
    // Every claim about the head was true when it was written, durable or not.
    let head = found.map(\.head).max { $0.offset < $1.offset } ?? .start
    let runs = JournalRuns(found)
    self.runs = runs
    let live = Self.live(found, head, runs)
    let before = found.first { $0.lastSequence == head.sequence && $0.end <= head.offset }
    self.head = head
    self.end = head
    self.previous = before?.checksum ?? 0
    self.lastRun = found.map(\.run).max() ?? 0
    self.namedHead = head
    walk(live, geometry, breakage)
    let end = end.offset
    namedHead = found.filter { $0.position < end }.map(\.head).max { $0.offset < $1.offset } ?? .start
  }

  /// Groups not before the head, in stream order, without those that an opening of the ring cut off.
  private static func live(
    _ found: [JournalGroup], _ head: JournalPosition, _ runs: JournalRuns
  ) -> [JournalGroup] {
    found.filter { $0.position >= head.offset && !runs.isCut(run: $0.run, sequence: $0.lastSequence) }
      .sorted { $0.position < $1.position }
  }

  private mutating func walk(
    _ live: [JournalGroup], _ geometry: JournalGeometry, _ breakage: JournalConfiguration.Breakage
  ) {
    // The highest durable_through at or behind each group: the witnesses against a hole before it.
    var witness = live.map(\.durableThrough)
    for index in witness.indices.dropLast().reversed() {
      witness[index] = max(witness[index], witness[index + 1])
    }
    var chained = false  // what stood before the head may be overwritten
    for (index, group) in live.enumerated() {
      if group.firstSequence == end.sequence + 1 {
        let place = geometry.placement(at: end.offset, size: group.end - group.position)
        guard group.position == place, !chained || group.previous == previous else { continue }
      } else {
        guard group.firstSequence > end.sequence + 1 else { continue }
        guard witness[index] > end.sequence, !breakage.contains(.cutCorruptMiddle) else {
          cut = live.count - index
          return
        }
        holes.append(
          Hole(
            places: end.offset..<max(end.offset, group.position),
            sequences: end.sequence + 1..<group.firstSequence,
            before: groups.count))
      }
      groups.append(group)
      end = JournalPosition(offset: group.end, sequence: group.lastSequence)
      previous = group.checksum
      chained = true
      witnessed = max(witnessed, group.durableThrough)
    }
  }
}

/// Which sequence numbers belong to which run of the journal. Each opening cuts what lies behind its
/// end and gives the sequence numbers from there on to a new run; what it cut may still stand in the
/// ring, whole, and must not come back.
struct JournalRuns: Sendable {
  /// Runs in order, each with the lowest start of it and all later ones.
  private var starts: [(run: UInt32, lowest: UInt64)] = []

  init(_ groups: [JournalGroup]) {
    var byRun: [UInt32: UInt64] = [:]
    for group in groups { byRun[group.run] = group.runStart }
    starts = byRun.sorted { $0.key < $1.key }.map { (run: $0.key, lowest: $0.value) }
    for index in starts.indices.dropLast().reversed() {
      starts[index].lowest = min(starts[index].lowest, starts[index + 1].lowest)
    }
  }

  /// Whether a later run has given this sequence number to another entry.
  func isCut(run: UInt32, sequence: UInt64) -> Bool {
    var low = 0
    var high = starts.count
    while low < high {
      let middle = (low + high) / 2
      if starts[middle].run <= run { low = middle + 1 } else { high = middle }
    }
    return low < starts.count && starts[low].lowest <= sequence
  }
}
