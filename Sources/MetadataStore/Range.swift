/// A question for the keys of a range, answered from one revision of the whole store.
package struct RangeRequest: Hashable, Sendable {
  package var keys: KeyRange
  /// At most so many keys, least first; 0 = no limit.
  package var limit: Int
  /// The state to read; `.zero` = the newest (a linearizable read).
  package var revision: Revision
  /// Leave the values out.
  package var keysOnly: Bool
  /// Leave the keys out too: only `RangeResult.count` is filled in.
  package var countOnly: Bool

  package init(
    _ keys: KeyRange, limit: Int = 0, revision: Revision = .zero, keysOnly: Bool = false,
    countOnly: Bool = false
  ) {
    self.keys = keys
    self.limit = limit
    self.revision = revision
    self.keysOnly = keysOnly
    self.countOnly = countOnly
  }
}

/// The answer to a `RangeRequest`.
package struct RangeResult: Hashable, Sendable {
  /// The newest revision when the answer was made: watch from its `next` to miss nothing.
  package var revision: Revision
  /// In byte order of the keys.
  package var keyValues: [KeyValue]
  /// Keys in the range, whatever the limit.
  package var count: Int
  /// The limit cut some off.
  package var more: Bool

  package init(revision: Revision, keyValues: [KeyValue], count: Int, more: Bool) {
    self.revision = revision
    self.keyValues = keyValues
    self.count = count
    self.more = more
  }
}
