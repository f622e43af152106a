/// Counts the changes of a metadata store: an empty store is at 1, and each transaction that changes
/// something adds exactly 1. A revision names a state of the whole store, not of one key.
package struct Revision: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  package let rawValue: Int64
  package init(rawValue: Int64) { self.rawValue = rawValue }
  package init(_ rawValue: Int64) { self.rawValue = rawValue }
  /// Where "a revision" is asked for: the newest. As a create or mod revision: the key does not exist.
  package static let zero = Revision(0)
  package static func < (a: Revision, b: Revision) -> Bool { a.rawValue < b.rawValue }
  /// The revision after this one.
  package var next: Revision { Revision(rawValue &+ 1) }
  package var description: String { String(rawValue) }
}

/// Names a lease; never 0 for a real one.
package struct LeaseID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  package let rawValue: Int64
  package init(rawValue: Int64) { self.rawValue = rawValue }
  package init(_ rawValue: Int64) { self.rawValue = rawValue }
  /// A key bound to no lease; in a grant: the store chooses the id.
  package static let none = LeaseID(0)
  package static func < (a: LeaseID, b: LeaseID) -> Bool { a.rawValue < b.rawValue }
  package var description: String { String(UInt64(bitPattern: rawValue), radix: 16) }
}

/// One key as it stood at some revision.
package struct KeyValue: Hashable, Sendable {
  package var key: [UInt8]
  /// Empty when only keys were asked for.
  package var value: [UInt8]
  /// When the key came into being, after its last deletion.
  package var createRevision: Revision
  /// When this value was put.
  package var modRevision: Revision
  /// 1 for the first value since creation, then one more with each put.
  package var version: Int64
  /// The lease whose end deletes the key, or `.none`.
  package var lease: LeaseID

  package init(
    key: [UInt8], value: [UInt8], createRevision: Revision, modRevision: Revision, version: Int64,
    lease: LeaseID = .none
  ) {
    self.key = key
    self.value = value
    self.createRevision = createRevision
    self.modRevision = modRevision
    self.version = version
    self.lease = lease
  }
}

/// A set of keys that are neighbours in byte order.
package struct KeyRange: Hashable, Sendable {
  package enum End: Hashable, Sendable {
    /// Just `start`.
    case single
    /// Every key from `start` on that is less than this.
    case below([UInt8])
    /// Every key from `start` on.
    case unbounded
  }

  package var start: [UInt8]
  package var end: End

  private init(start: [UInt8], end: End) {
    self.start = start
    self.end = end
  }

  package static func key(_ key: [UInt8]) -> KeyRange { KeyRange(start: key, end: .single) }
  package static func key(_ key: String) -> KeyRange { .key(Array(key.utf8)) }
  package static func from(_ start: [UInt8]) -> KeyRange { KeyRange(start: start, end: .unbounded) }
  package static func from(_ start: [UInt8], below end: [UInt8]) -> KeyRange {
    KeyRange(start: start, end: .below(end))
  }
  /// Every key of the store: a key has at least one byte, so the least is a single zero.
  package static let all = KeyRange(start: [0], end: .unbounded)

  /// Every key that begins with `prefix`.
  package static func prefix(_ prefix: [UInt8]) -> KeyRange {
    if prefix.isEmpty { return .all }
    var end = prefix
    // The least key after all of them: the prefix with its last byte raised, after dropping bytes
    // that cannot be.
    while let last = end.last {
      if last < 0xff {
        end[end.count - 1] = last + 1
        return KeyRange(start: prefix, end: .below(end))
      }
      end.removeLast()
    }
    return KeyRange(start: prefix, end: .unbounded)
  }
  package static func prefix(_ prefix: String) -> KeyRange { .prefix(Array(prefix.utf8)) }

  package func contains(_ key: [UInt8]) -> Bool {
    switch end {
    case .single: key == start
    case .below(let end): !key.lexicographicallyPrecedes(start) && key.lexicographicallyPrecedes(end)
    case .unbounded: !key.lexicographicallyPrecedes(start)
    }
  }
}
