package import SkeinCore

/// One event of one partition, as it goes into the journal and comes out of recovery.
package struct JournalEntry: Sendable {
  /// What the payload is. The raw values are on disk for ever; 16 and above are the journal's own.
  package enum Kind: UInt8, Sendable, Hashable, CaseIterable {
    /// A frame and its record batch.
    case batch = 1
    /// The log start of a partition moved up (retention, delete-records).
    case logStart = 2
    /// The partition's active segment changed.
    case roll = 3
    /// The topic of the key is gone.
    case topicDeleted = 4
    /// A leader epoch began.
    case leaderEpoch = 5
  }

  package var kind: Kind
  package var key: TopicPartition
  /// The payload, e.g. [frame, batch]. Shared, never copied; recovery gives back one part.
  package var parts: [SharedBytes]
  /// The partition's log end after this entry.
  package var endOffset: Int64

  package init(kind: Kind, key: TopicPartition, parts: [SharedBytes], endOffset: Int64) {
    self.kind = kind
    self.key = key
    self.parts = parts
    self.endOffset = endOffset
  }

  /// Bytes of payload.
  package var payloadCount: Int { parts.reduce(0) { $0 + $1.count } }
}

/// A place between two groups of the journal's endless stream.
package struct JournalPosition: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// Bytes written since the ring was created, padding and skipped ends of files included.
  /// `offset / capacity` is the lap, `offset % capacity` the place in the ring.
  package var offset: Int64
  /// The sequence number of the last entry before this place; 0 at the very start.
  package var sequence: UInt64

  package init(offset: Int64, sequence: UInt64) {
    self.offset = offset
    self.sequence = sequence
  }

  package static let start = JournalPosition(offset: 0, sequence: 0)
  package static func < (a: Self, b: Self) -> Bool { a.sequence < b.sequence }
  package var description: String { "\(offset)#\(sequence)" }
}
