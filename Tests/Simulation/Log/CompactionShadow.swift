import SkeinCore

/// What a compacted partition must look like, kept by the simulation alone: every record that was ever
/// appended, by offset. It shares no code with CommitLog.
package struct CompactionShadow {
  package struct Record: Equatable, Sendable {
    package var key: String
    /// Nil: a tombstone.
    package var value: String?
    package var timestamp: Int64
    package var headers: [String]
    package var leaderEpoch: Int32

    package init(key: String, value: String?, timestamp: Int64, headers: [String], leaderEpoch: Int32) {
      self.key = key
      self.value = value
      self.timestamp = timestamp
      self.headers = headers
      self.leaderEpoch = leaderEpoch
    }
  }

  /// By offset; those above the log's end of a crash are taken out.
  private var appended: [Int64: (record: Record, at: Int64)] = [:]
  private var acknowledgedEnd: Int64 = 0
  /// When a superseded record of a key was last read, in milliseconds.
  private var olderSeen: [String: Int64] = [:]
  /// The highest log start that was met.
  private var observedStart: Int64 = 0

  package init() {}

  package mutating func append(_ record: Record, at offset: Int64, now: Int64) {
    appended[offset] = (record, now)
  }

  package mutating func acknowledge(below end: Int64) { acknowledgedEnd = max(acknowledgedEnd, end) }

  /// A restart: the log ends at `end`.
  package mutating func restart(end: Int64) throws {
    guard end >= acknowledgedEnd else {
      throw ShadowError("acknowledged up to \(acknowledgedEnd), and the log ends at \(end)")
    }
    appended = appended.filter { $0.key < end }
    acknowledgedEnd = end
  }

  /// The checkpoints were destroyed: deleted records may come back, nothing else.
  package mutating func forgetStarts() { observedStart = 0 }

  /// The number of keys whose last record in `start ..< end` is a value.
  package func liveKeys(from start: Int64, to end: Int64) -> Int {
    newest(from: start, to: end).values.count { appended[$0]?.record.value != nil }
  }

  private func newest(from start: Int64, to end: Int64) -> [String: Int64] {
    var newest: [String: Int64] = [:]
    for (offset, entry) in appended where offset >= start && offset < end {
      newest[entry.record.key] = max(newest[entry.record.key] ?? -1, offset)
    }
    return newest
  }

  /// Compares everything readable, `start ..< end`.
  /// - Parameters:
  ///   - retention: of tombstones, in milliseconds.
  ///   - slack: the longest that a round has taken: a tombstone's time counts from when it was rewritten.
  package mutating func compare(
    _ present: [Int64: Record], start: Int64, end: Int64, now: Int64, retention: Int64, slack: Int64
  ) throws {
    guard start >= observedStart else {
      throw ShadowError("the log start fell to \(start) from \(observedStart)")
    }
    observedStart = start
    for (offset, record) in present {
      guard let known = appended[offset]?.record else {
        throw ShadowError("offset \(offset): nobody appended it")
      }
      guard record == known else { throw ShadowError("offset \(offset): \(record) was \(known)") }
    }
    let newest = newest(from: start, to: end)
    var gone: Set<String> = []
    for (key, offset) in newest where present[offset] == nil {
      guard let (record, time) = appended[offset], record.value == nil else {
        throw ShadowError("the last value of \(key), at offset \(offset), is missing")
      }
      let since = max(time, olderSeen[key] ?? 0)
      guard now >= since + retention - slack else {
        throw ShadowError("the tombstone of \(key) at \(offset) went after \(now - since) ms of \(retention)")
      }
      gone.insert(key)
    }
    for (offset, record) in present where offset != newest[record.key] {
      if gone.contains(record.key) {
        throw ShadowError("\(record.key) is back at offset \(offset): its tombstone is gone already")
      }
      olderSeen[record.key] = now
    }
  }

  /// The leader epochs that the log remembers give each record its own.
  package func compareEpochs(_ epochs: [(epoch: Int32, start: Int64)], from start: Int64, to end: Int64)
    throws
  {
    for (offset, entry) in appended where offset >= start && offset < end {
      let found = epochs.last { $0.start <= offset }?.epoch
      if found != entry.record.leaderEpoch {
        throw ShadowError(
          "offset \(offset) has epoch \(entry.record.leaderEpoch), the cache says \(found ?? -1)")
      }
    }
  }
}
