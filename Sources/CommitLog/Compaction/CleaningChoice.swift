internal import SkeinCore
internal import Synchronization

/// Which part of a partition may be cleaned, and how much it needs it.
///
/// Only sealed segments count: all of their batches are durable and below the high watermark (R35).
struct CleaningChoice {
  let store: PartitionStore
  let settings: PartitionSettings
  /// Sealed and old enough, oldest first.
  var sources: [Segment]
  /// The cleaner has passed everything below.
  let cleanedEnd: Int64
  /// Share of the sources' bytes that came since then: 0 ... 1.
  let dirtyShare: Double
  /// Some tombstones are due, whatever the share.
  let hasDueTombstones: Bool

  /// Nil for a partition that is not compacted, not served, or has nothing to clean.
  init?(_ store: PartitionStore, now: Int64) {
    let found = store.state.withLock { state -> (PartitionSettings, ArraySlice<Segment>, Int64)? in
      guard let settings = state.settings, settings.isCompacted, state.corruption == nil, !state.isDeleted
      else { return nil }
      let sealed = state.segments.prefix { segment in
        segment.isSealed && segment.lastAppendTime <= now - settings.compactionLagMilliseconds
      }
      return sealed.isEmpty ? nil : (settings, sealed, state.cleanedEnd)
    }
    guard let (settings, sealed, end) = found else { return nil }
    self.store = store
    self.settings = settings
    sources = sealed.filter { $0.size > 0 }
    cleanedEnd = end
    let all = sources.reduce(0) { $0 + $1.size }
    let dirty = sources.reduce(0) { $0 + ($1.end > end ? $1.size : 0) }
    dirtyShare = all > 0 ? Double(dirty) / Double(all) : 0
    hasDueTombstones = sources.contains { $0.tombstonesUntil != .min && $0.tombstonesUntil <= now }
  }

  var isDue: Bool { dirtyShare > 0 && dirtyShare >= settings.minimumDirtyRatio }

  /// Neighbours whose bytes fit one segment are rewritten as one, so that segments which have become
  /// small do not stay many.
  static func groups(_ sources: [Segment], limit: Int64) -> [[Segment]] {
    var groups: [[Segment]] = []
    var size: Int64 = 0
    for segment in sources {
      if let last = groups.last, let first = last.first, let previous = last.last,
        previous.end == segment.base, size + segment.size <= limit,
        segment.end - first.base < Int64(UInt32.max), segment.generation < .max - 1
      {
        groups[groups.count - 1].append(segment)
        size += segment.size
      } else {
        groups.append([segment])
        size = segment.size
      }
    }
    return groups
  }
}
