internal import SkeinCore
internal import Synchronization

/// The group commit (R47): takes what was submitted, writes it to the journal in few groups, syncs
/// once, and says what has become durable. Threading: the flusher thread, one step at a time.
final class Flusher {
  private let shared: DirectoryShared
  private let backlog: Backlog
  /// Others read its size only.
  let journal: Journal
  /// Taken from the queue and not in the journal yet, in order, from `next` on.
  private var waiting: [PendingEntry] = []
  private var next = 0
  private var group: UInt64 = 0

  init(shared: DirectoryShared, backlog: Backlog, journal: Journal) {
    self.shared = shared
    self.backlog = backlog
    self.journal = journal
  }

  /// The defect `acknowledgeBeforeSync`: the sync follows in the next step.
  private var syncIsLate = false

  /// Entries wait although a step has run: the journal is full until segments are written behind.
  private(set) var isBlocked = false

  var isIdle: Bool { next == waiting.count && shared.queue.isEmpty }

  func step() throws(LogError) -> [DurableAdvance] {
    if syncIsLate {
      try journal.sync()
      syncIsLate = false
    }
    // What a full journal left over, then all that came since: a step leaves nothing in the queue that
    // nobody would wake it for again.
    let taken = shared.queue.takeAll()
    waiting = next == waiting.count ? taken : Array(waiting[next...]) + taken
    next = 0
    // The ends are captured before the sync begins: only they may be called durable (R47).
    let first = next
    guard let cut = try writeGroups() else { return [] }
    let started = shared.time.monotonicNanoseconds
    if shared.configuration.breakages.contains(.acknowledgeBeforeSync) {
      syncIsLate = true
    } else {
      try journal.sync()
    }
    let advances = settle(waiting[first..<next], cut: cut, started: started)
    if next == waiting.count {
      waiting = []
      next = 0
    }
    return advances
  }

  /// Writes everything that waits, group after group; one sync then covers them all. Stops early when
  /// the journal is full; nil when nothing was written.
  private func writeGroups() throws(LogError) -> JournalPosition? {
    var cut: JournalPosition?
    while next < waiting.count {
      let end = endOfGroup()
      guard let position = try write(waiting[next..<end]) else { break }
      cut = position
      next = end
    }
    return cut
  }

  /// One group holds at most `maxGroupBytes`, but at least one entry.
  private func endOfGroup() -> Int {
    var index = next
    var bytes = 0
    while index < waiting.count {
      bytes += waiting[index].reservedBytes + Self.journalOverhead
      if index > next && bytes > shared.configuration.maxGroupBytes { break }
      index += 1
    }
    return index
  }

  /// About what the journal adds to an entry.
  private static let journalOverhead = 160

  /// Nil when the journal has no room: the write-behind thread is asked to make some.
  private func write(_ entries: ArraySlice<PendingEntry>) throws(LogError) -> JournalPosition? {
    do throws(LogError) {
      let position = try journal.write(entries.map(\.journalEntry))
      isBlocked = false
      return position
    } catch {
      guard case .journalFull = error else { throw error }
      isBlocked = true
      backlog.request(recycle: true)
      return nil
    }
  }

  // MARK: What has become durable

  private func settle(
    _ entries: ArraySlice<PendingEntry>, cut: JournalPosition, started: Int64
  ) -> [DurableAdvance] {
    group += 1
    let now = shared.time.monotonicNanoseconds
    var advances: [DurableAdvance] = []
    var deleted: [TopicID] = []
    var bytes = 0
    for entry in entries {
      bytes += entry.reservedBytes
      if case .topicDeleted(let topic) = entry.kind { deleted.append(topic) }
      guard let log = entry.log else { continue }
      let place = place(of: log, in: &advances, started: started, now: now)
      if case .logStart(let start) = entry.kind {
        advances[place].logStart = max(advances[place].logStart ?? .zero, Offset(start))
      } else {
        advances[place].end = max(advances[place].end, Offset(entry.end))
      }
    }
    let dirty = advances.compactMap(Self.markDurable)
    backlog.publish(dirty: dirty, deletedTopics: deleted, cut: cut)
    shared.queue.release(bytes: bytes, entries: entries.count)
    return advances
  }

  /// The partition's place in this group's advances; no dictionary, so that a thousand partitions
  /// cost a thousand comparisons.
  private func place(
    of log: PartitionLog, in advances: inout [DurableAdvance], started: Int64, now: Int64
  ) -> Int {
    let store = log.store
    if store.flushGroup != group {
      store.flushGroup = group
      store.flushIndex = advances.count
      advances.append(
        DurableAdvance(log: log, end: .zero, logStart: nil, syncStarted: started, syncedAt: now))
    }
    return store.flushIndex
  }

  /// Publishes the advance to write-behind and readers; the store if it was clean until now.
  private static func markDurable(_ advance: DurableAdvance) -> PartitionStore? {
    let store = advance.log.store
    return store.state.withLock { state in
      state.durableEnd = max(state.durableEnd, advance.end.rawValue)
      if let start = advance.logStart { state.logStart = max(state.logStart, start.rawValue) }
      if state.isDirty || state.isDeleted { return nil }
      state.isDirty = true
      return store
    }
  }
}

extension PendingEntry {
  /// The entry as the journal stores it.
  fileprivate var journalEntry: JournalEntry {
    switch kind {
    case .batch(let frame, let batch):
      JournalEntry(kind: .batch, key: key, parts: [frame, batch], endOffset: end)
    case .logStart(let start):
      JournalEntry(kind: .logStart, key: key, parts: [LogStartPayload.encoded(start)], endOffset: end)
    case .topicDeleted:
      JournalEntry(kind: .topicDeleted, key: key, parts: [], endOffset: 0)
    }
  }

  private var key: TopicPartition {
    if case .topicDeleted(let topic) = kind { return TopicPartition(topic: topic, partition: -1) }
    return log?.key ?? TopicPartition(topic: TopicID(high: 0, low: 0), partition: -1)
  }
}

/// The payload of a `logStart` journal entry: the new start, 8 bytes little-endian.
enum LogStartPayload {
  static func encoded(_ start: Int64) -> SharedBytes {
    var out = ByteWriter(capacity: 8)
    out.put(start)
    return SharedBytes(out.bytes)
  }

  static func decoded(_ bytes: SharedBytes?) -> Int64? {
    guard let bytes, bytes.count == 8 else { return nil }
    var input = ByteReader(bytes.array)
    return input.int64()
  }
}
