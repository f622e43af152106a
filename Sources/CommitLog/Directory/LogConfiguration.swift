/// Limits and thresholds of one log directory. Sizes in bytes. Every queue and cache of the commit
/// log has its bound here (style habit 5).
package struct LogConfiguration: Sendable {
  /// The cluster that the directory belongs to; a directory of another cluster is refused.
  package var clusterID: String
  package var journal: JournalConfiguration

  /// Appends handed over and not yet durable; beyond it produce is refused as OVERLOADED (R48).
  package var maxQueuedBytes = 64 << 20
  package var maxQueuedEntries = 100_000
  /// One group commit takes at most this much, or one entry if that is larger. The journal must
  /// hold several groups.
  package var maxGroupBytes = 8 << 20

  /// Batches kept in memory for tail readers after they were written behind.
  package var tailBudgetBytes = 64 << 20
  /// Durable batches that are not in a segment yet; beyond it produce is refused as OVERLOADED.
  package var maxUnwrittenBytes = 128 << 20
  /// A write-behind round begins when this much waits for it.
  package var writeBehindBytes = 8 << 20
  /// One write to a segment takes at most this much, or one batch if that is larger.
  package var writeRunBytes = 2 << 20
  /// A segment file is synced when this much was written to it, so that no sync takes long.
  package var pacedSyncBytes: Int64 = 16 << 20
  /// With more files and folders than this to sync, the whole file system is synced in one call.
  package var bulkSyncAbove = 64
  /// Journal parts are recycled when this share of the journal is in use, in percent.
  package var recycleAtPercent = 50

  /// Segment files open at once, for readers and for write-behind each.
  package var maxOpenFiles = 384
  /// Indexes of sealed segments in memory.
  package var indexCacheBytes = 16 << 20
  /// Producers remembered in all partitions together (P9); a new one beyond it is refused.
  package var maxProducers = 200_000

  /// Produce is refused (DISK_FULL) while less than this is free (R57). What the journal holds
  /// must still fit, so it should exceed the journal's capacity.
  package var reserveBytes: Int64 = 1 << 30
  /// A file of this size is given up when a checkpoint finds no space: deletes must go on (R57).
  package var emergencyBytes: Int64 = 8 << 20

  /// Files of deleted segments kept for reuse, all together; 0 keeps none.
  package var maxRecycledBytes: Int64 = 512 << 20
  /// Smaller ones are not kept.
  package var smallestRecycledBytes: Int64 = 1 << 20

  /// What the cleaner may use for the keys of one round, in bytes. A key longer than about 7/8 of it is
  /// never compacted.
  package var compactionBytes = 64 << 20

  /// Deliberate defects, for the tests that must catch them. Always empty in a broker.
  package var breakages: Set<LogBreakage> = []

  package init(clusterID: String) {
    self.clusterID = clusterID
    self.journal = JournalConfiguration(verifyBatch: StoredFrame.isIntact)
  }
}

/// Defects that the simulation must find (faults-and-security.md, mutation gate).
package enum LogBreakage: Sendable, Hashable, CaseIterable {
  /// Advances are reported before the journal is synced.
  case acknowledgeBeforeSync
  /// Folders of new segments are never synced (B19).
  case skipDirectorySync
  /// A failed sync of the journal or a segment is tried again and believed (R56).
  case retryFailedSync
  /// The checkpoint leaves out the producers (P8).
  case forgetProducerSnapshot
  /// A journal part is recycled before the segments that cover it are synced (R49).
  case recycleBeforeSync
  /// Recovery ignores the journal's log starts: deletions are confirmed before they are durable (R34).
  case forgetLogStart
  /// The leader epoch is not raised at start (R22).
  case keepLeaderEpoch
  /// Compacted segments are not synced before they replace their sources.
  case compactWithoutSync
  /// The folder of a compacted segment is not synced before its sources may go (B19).
  case compactWithoutDirectorySync
  /// The sources of a compacted segment go before a checkpoint names it.
  case compactRemovesEarly
  /// Tombstones go the first time the cleaner meets them.
  case compactDropsTombstonesAtOnce
  /// The newest batch of a producer goes when all its records are superseded (P8).
  case compactForgetsProducers
  /// Equal hashes count as equal keys.
  case compactTrustsHash
  /// A round claims to have passed everything although its map was full.
  case compactClaimsTooMuch
  /// The first record of a key is kept, not the last.
  case compactKeepsFirst
  /// A compacted segment takes its sources' place although they are not there any more.
  case compactInstallsBlindly
  /// The tail cache keeps what compaction took.
  case compactKeepsTail
  /// Superseded records go without leaving their offsets behind.
  case compactLeavesHoles
}

/// What a topic's settings mean to its partitions' logs.
package struct PartitionSettings: Sendable, Equatable {
  package enum Durability: Sendable, Equatable {
    /// Acknowledged when the group commit that covers it has been synced.
    case fsync
    /// Acknowledged when appended in memory; a named opt-in (R43).
    case memory
  }

  package var durability: Durability = .fsync
  /// A segment is sealed before it grows beyond this, in bytes: 64 KiB ... 1 GiB.
  package var segmentBytes: Int64 = 256 << 20
  /// A segment is sealed this long after its first append, in milliseconds.
  package var segmentMilliseconds: Int64 = 7 * 24 * 3600 * 1000
  /// Sealed segments are deleted when their newest append is older; nil = never.
  package var retentionMilliseconds: Int64? = 7 * 24 * 3600 * 1000
  /// Sealed segments are deleted while the partition is larger; nil = no limit.
  package var retentionBytes: Int64?

  /// Retention deletes whole segments; a topic that is only compacted keeps the last value of each key for ever.
  package var isRetained = true
  /// The cleaner keeps the last record of each key (Docs/formats/segment.md, ADR 0012).
  package var isCompacted = false
  /// The cleaner begins when this share of the sealed bytes was appended since it last passed: 0 ... 1.
  package var minimumDirtyRatio = 0.5
  /// A tombstone stays this long after the cleaner first passed it, in milliseconds.
  package var tombstoneMilliseconds: Int64 = 24 * 3600 * 1000
  /// Records appended more recently than this are not compacted, in milliseconds.
  package var compactionLagMilliseconds: Int64 = 0

  package static let segmentBytesRange: ClosedRange<Int64> = 64 << 10...1 << 30

  package init() {}
}
