package import SkeinCore

/// Size of the journal and how its payloads are checked.
///
/// The geometry counts only when a ring is created; an existing ring keeps the one on disk.
package struct JournalConfiguration: Sendable {
  /// Bytes of one file of the ring, its identity block included; a multiple of `blockSize`. It bounds
  /// the largest entry, so it must exceed the largest batch.
  package var fileSize: Int64
  /// Files in the ring.
  package var fileCount: Int
  /// Groups begin at multiples of this. At least the unit in which the device tears writes, so that
  /// writing a group never puts bytes of an earlier one at risk.
  package var blockSize: Int64
  /// Whether the payload of a `batch` entry is intact: its frame, its own CRC, and that both belong to
  /// the key. The journal itself covers only the first 128 bytes of it (Docs/formats/journal.md).
  package var verifyBatch: @Sendable (TopicPartition, UnsafeRawBufferPointer) -> Bool
  /// Deliberate defects for the tests; empty outside them.
  package var breakage: Breakage

  /// - Parameters:
  ///   - fileSize: default 32 MiB, which with 8 files makes a ring of 256 MiB.
  ///   - verifyBatch: must have no side effect; called on the thread that opens or replays.
  package init(
    fileSize: Int64 = 32 << 20, fileCount: Int = 8, blockSize: Int64 = 4096,
    verifyBatch: @escaping @Sendable (TopicPartition, UnsafeRawBufferPointer) -> Bool
  ) {
    self.fileSize = fileSize
    self.fileCount = fileCount
    self.blockSize = blockSize
    self.verifyBatch = verifyBatch
    self.breakage = []
  }

  /// Mutants: each makes the journal wrong in one way that the crash schedules must notice.
  package struct Breakage: OptionSet, Sendable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    /// After a failed sync, try again and believe the second answer (against R56).
    package static let retryFailedSync = Breakage(rawValue: 1)
    /// Cut at the first bad entry, whatever stands behind it (against R52).
    package static let cutCorruptMiddle = Breakage(rawValue: 2)
    /// Overwrite entries whose segments are not synced.
    package static let recycleUnsynced = Breakage(rawValue: 4)
    /// Create the ring without syncing its directory (B19).
    package static let noDirectorySync = Breakage(rawValue: 8)
    /// Use recycled space before the new head of the ring is durable.
    package static let reuseBeforeHeadIsDurable = Breakage(rawValue: 16)
    /// Believe the page cache after a restart: neither rewrite nor sync what was scanned (R53).
    package static let trustPageCache = Breakage(rawValue: 32)
    /// `sync` returns without syncing: whoever acknowledges after it acknowledges before a real sync.
    package static let noSync = Breakage(rawValue: 64)
  }
}
