internal import SkeinCore

/// Which leader epoch wrote which offsets: [(epoch, first offset)], both rising (R1, R23).
///
/// An entry is added with the first batch of an epoch; epochs without records leave none. It can be
/// rebuilt from frames, and its copy on disk is in the checkpoint. A value type; threading: its owner's.
package struct EpochCache: Sendable, Equatable {
  package struct Entry: Sendable, Equatable {
    package var epoch: Int32
    package var start: Int64
    package init(epoch: Int32, start: Int64) {
      self.epoch = epoch
      self.start = start
    }
  }

  package private(set) var entries: [Entry] = []

  package init() {}

  package var newest: Int32? { entries.last?.epoch }

  /// Notes that the batch at `start` carries `epoch`. Lower epochs than the newest are ignored:
  /// the caller has checked their order.
  package mutating func note(epoch: Int32, start: Int64) {
    if let newest = entries.last, newest.epoch >= epoch { return }
    entries.append(Entry(epoch: epoch, start: start))
  }

  /// The entries of the records below `end`.
  package func prefix(endingAt end: Int64) -> ArraySlice<Entry> {
    entries.prefix { $0.start < end }
  }

  /// Forgets epochs whose records all lie below `logStart`; the one that covers it stays.
  package mutating func trim(below logStart: Int64) {
    guard entries.count > 1 else { return }
    let covering = entries.lastIndex { $0.start <= logStart } ?? 0
    if covering > 0 { entries.removeFirst(covering) }
  }

  /// Where the log that a reader at epoch `last` has seen ends in our log, if that is before
  /// `position`: then what it read there is gone (LOG_TRUNCATED; the divergence rule R30).
  /// Nil means that its position is consistent with our history.
  package func truncation(of position: Int64, lastEpoch last: Int32, logEnd: Int64) -> Int64? {
    let end = entries.first { $0.epoch > last }?.start ?? logEnd
    return position > end ? end : nil
  }
}
