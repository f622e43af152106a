package import SkeinCore
internal import Synchronization

/// Re-reads sealed segments from the medium, one after another and for ever (R55): damage is found while
/// there may still be another copy, and not when a consumer needs the bytes.
///
/// A damaged segment takes its partition offline (R52), as a cold read that meets it would. The place
/// where a round stands is kept in memory only: a restart begins a new round.
/// Threading: one thread at a time; it blocks on the disk.
final class Scrubber: Sendable {
  /// Where the next step goes on.
  private struct Place {
    var key: TopicPartition
    var segment: Segment
    var position: Int64 = 0
    var nextOffset: Int64
    var epoch: Int32 = 0

    init(_ key: TopicPartition, _ segment: Segment) {
      self.key = key
      self.segment = segment
      nextOffset = segment.base
    }
  }

  private let shared: DirectoryShared
  private let partitions: PartitionMap
  /// Nil between two rounds.
  private let place = Mutex<Place?>(nil)

  init(shared: DirectoryShared, partitions: PartitionMap) {
    self.shared = shared
    self.partitions = partitions
  }

  /// Verifies about `maxBytes` of one segment, at least a batch.
  func step(maxBytes: Int) -> ScrubStep {
    guard let (store, segment, start) = next() else {
      place.withLock { $0 = nil }
      return ScrubStep(bytes: 0, endsRound: true)
    }
    let end: SegmentScan.End
    do throws(DiskError) {
      let file = try shared.files.file(LogPaths.segment(store.key, segment))
      // What the page cache has says nothing of the medium.
      file.dropCache(from: start.position, count: min(Int64(maxBytes), segment.size - start.position))
      end = try SegmentScan(file: file, key: store.key, verifyPayload: true).run(
        from: start.position, to: segment.size, offset: start.nextOffset, epoch: start.epoch,
        most: Int64(maxBytes)
      ) { _, _ in }
    } catch {
      // Too many files is our trouble, not the segment's.
      if error.kind == .tooManyFiles { return ScrubStep(bytes: 0, endsRound: false) }
      return damaged(store, segment, "\(error)")
    }
    if let flaw = end.flaw { return damaged(store, segment, "\(flaw)") }
    let isOver = end.position >= segment.size
    if isOver, end.nextOffset != segment.end {
      return damaged(store, segment, "it ends at offset \(end.nextOffset) instead of \(segment.end)")
    }
    place.withLock { place in
      place?.position = end.position
      place?.nextOffset = end.nextOffset
      place?.epoch = end.epoch
    }
    return ScrubStep(bytes: Int(end.position - start.position), endsRound: false)
  }

  /// The segment of the current place, or the first sealed one behind it.
  private func next() -> (PartitionStore, Segment, Place)? {
    let current = place.withLock { $0 }
    for log in partitions.all {
      if let current, log.key < current.key { continue }
      let found = log.store.state.withLock { state -> Segment? in
        guard state.corruption == nil, !state.isDeleted else { return nil }
        return state.segments.first { segment in
          guard segment.isSealed, segment.size > 0 else { return false }
          guard let current, current.key == log.key else { return true }
          // A segment that the cleaner has rewritten since is verified anew.
          return segment.base > current.segment.base
            || (segment.base == current.segment.base
              && (current.position < segment.size || !segment.isSameFile(as: current.segment)))
        }
      }
      guard let found else { continue }
      if let current, current.key == log.key, current.segment.isSameFile(as: found) {
        return (log.store, found, current)
      }
      let fresh = Place(log.key, found)
      place.withLock { $0 = fresh }
      return (log.store, found, fresh)
    }
    return nil
  }

  private func damaged(_ store: PartitionStore, _ segment: Segment, _ why: String) -> ScrubStep {
    let damage = store.condemn(segment, why)
    place.withLock { $0?.position = segment.size }
    return ScrubStep(bytes: 0, endsRound: false, damage: damage)
  }
}

/// What one step of the scrubber did.
package struct ScrubStep: Sendable {
  /// Verified bytes.
  package var bytes: Int
  /// Every sealed segment has been verified since the last time; the next step begins again.
  package var endsRound: Bool
  /// The partition that the step took offline, and why.
  package var damage: (key: TopicPartition, why: String)?
}

extension LogDirectory {
  /// Verifies about `maxBytes` of sealed segments (R55). One thread at a time, any I/O thread; blocks.
  package func scrubStep(maxBytes: Int) throws(Fault) -> ScrubStep {
    if shared.isOffline { throw shared.offlineFault }
    return scrubber.step(maxBytes: maxBytes)
  }
}
