internal import SkeinCore
internal import Synchronization

/// Collects a checkpoint from the partitions' images, and finds the segments that it no longer
/// names. Threading: the write-behind thread.
struct CheckpointBuilder {
  private(set) var checkpoint = Checkpoint()
  /// Segments below their partition's log start: to be removed once the checkpoint is durable.
  private(set) var retired: [(store: PartitionStore, segments: [Segment])] = []
  private let now: Int64
  private let withProducers: Bool

  init(leaderEpoch: Int32, now: Int64, withProducers: Bool) {
    checkpoint.leaderEpoch = leaderEpoch
    self.now = now
    self.withProducers = withProducers
  }

  mutating func add(_ store: PartitionStore) {
    _ = store.image.producers.expire(now: now)
    let logStart = store.image.logStart
    let (row, old) = store.state.withLock { state -> (Checkpoint.Row?, [Segment]) in
      if state.isDeleted { return (nil, []) }
      // Never the active segment (R35).
      let count = state.segments.prefix { $0.isSealed && $0.end <= logStart }.count
      var row = Checkpoint.Row(key: store.key)
      row.logStart = logStart
      row.end = state.writtenEnd
      row.lastAppendTime = state.lastAppendTime
      row.corruption = state.corruption
      row.cleanedEnd = state.cleanedEnd
      row.segments = state.segments[count...].map { segment in
        var stored = segment
        stored.index = nil
        return stored
      }
      state.epochs.trim(below: logStart)
      row.epochs = Array(state.epochs.prefix(endingAt: state.writtenEnd))
      return (row, Array(state.segments[..<count]))
    }
    guard var row, row.isWorthStoring else { return }
    if withProducers {
      row.producers = store.image.producers.entries.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
    checkpoint.rows.append(row)
    if !old.isEmpty { retired.append((store, old)) }
  }
}

extension Checkpoint.Row {
  /// A partition that was never written needs no row: its topic's metadata brings it back.
  fileprivate var isWorthStoring: Bool { end > 0 || logStart > 0 || corruption != nil }
}
