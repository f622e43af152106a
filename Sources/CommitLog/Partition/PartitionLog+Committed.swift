package import SkeinCore
internal import Synchronization

/// What is asked of a partition about positions, e.g. those that consumer groups commit. Any thread.
extension PartitionLog {
  /// First readable offset, and the exclusive end of what readers may see, as the flusher has published them: never
  /// behind what a reader was shown.
  package var committedRange: (start: Offset, end: Offset) {
    let range = store.state.withLock { Self.range($0) }
    return (Offset(range.start), Offset(range.end))
  }

  /// Judges a position that somebody wants to go on at (G18), and tells the leader epoch of the record before it;
  /// nil at the log's beginning.
  /// - Parameter lastEpoch: of the record before the position, if the caller knows it.
  /// - Throws: OFFSET_OUT_OF_RANGE with the valid range; LOG_TRUNCATED when the log was cut below what was read.
  package func judge(_ position: Offset, lastEpoch: LeaderEpoch?) throws(Fault) -> LeaderEpoch? {
    let offset = position.rawValue
    let (range, truncation, epoch, isDeleted) = store.state.withLock { state in
      let range = Self.range(state)
      return (
        range,
        lastEpoch.flatMap {
          state.epochs.truncation(of: offset, lastEpoch: $0.rawValue, logEnd: range.end)
        },
        state.epochs.prefix(endingAt: offset).last?.epoch, state.isDeleted
      )
    }
    if isDeleted { throw Self.deletedFault(key) }
    if let truncation, let lastEpoch { throw truncatedFault(position, lastEpoch, truncation) }
    guard offset >= range.start, offset <= range.end else {
      throw rangeFault(position, Offset(range.start), Offset(range.end))
    }
    return epoch.map { LeaderEpoch($0) }
  }

  private static func range(_ state: borrowing PartitionStore.State) -> (start: Int64, end: Int64) {
    let isMemory = state.settings?.durability == .memory
    return (state.logStart, isMemory ? max(state.durableEnd, state.tail.end ?? 0) : state.durableEnd)
  }
}
