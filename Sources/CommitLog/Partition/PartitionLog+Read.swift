package import SkeinCore
internal import Synchronization

/// Where the batches of a read are.
package enum ReadOutcome: Sendable {
  /// Nothing at or above the offset is committed yet: wait for the high watermark.
  case atEnd
  /// Whole v2 batches; the first may begin before the offset that was asked for.
  case memory([SharedBytes], next: Offset)
  /// Execute on an I/O thread with `LogDirectory.read`.
  case file(FileRead)
}

extension PartitionLog {
  /// Finds committed batches from `from` on. Home executor.
  ///
  /// Throws OFFSET_OUT_OF_RANGE outside `logStart ... highWatermark`, LOG_TRUNCATED when the log was
  /// cut below what the reader has seen, DATA_CORRUPT when the partition is offline.
  /// - Parameters:
  ///   - maxBytes: of batches; the first batch is returned whole even if it is larger.
  ///   - lastEpoch: leader epoch of the last record that the reader saw, if it knows it.
  package func read(
    from: Offset, maxBytes: Int, lastEpoch: LeaderEpoch? = nil
  ) throws(Fault) -> ReadOutcome {
    if shared.isOffline { throw shared.offlineFault }
    let limit = highWatermark.rawValue
    let position = from.rawValue
    let seen = store.state.withLock { state -> Seen in
      if state.isDeleted { return .fault(Self.deletedFault(key)) }
      if let why = state.corruption { return .fault(Self.corruptFault(key, why)) }
      if let lastEpoch,
        let end = state.epochs.truncation(
          of: position, lastEpoch: lastEpoch.rawValue, logEnd: logEnd.rawValue)
      {
        return .fault(truncatedFault(from, lastEpoch, end))
      }
      if position < logStart.rawValue || position > limit { return .fault(rangeFault(from)) }
      if position == limit { return .nothing }
      return state.tail.read(from: position, limit: limit, maxBytes: maxBytes).map(Seen.entries) ?? .onDisk
    }
    switch seen {
    case .fault(let fault): throw fault
    case .nothing: return .atEnd
    case .entries(let entries):
      guard let last = entries.last else { return .atEnd }
      return .memory(entries.map(\.batch), next: Offset(last.end))
    case .onDisk:
      let bounded = min(max(maxBytes, 1), StoredFrame.maxBatchBytes)
      return .file(FileRead(store: store, from: position, limit: limit, maxBytes: bounded))
    }
  }

  /// Plans the search for the first committed record at or after `timestamp` (milliseconds); execute
  /// it on an I/O thread with `LogDirectory.find`. Home executor.
  package func offset(forTimestamp timestamp: Int64) -> TimestampSearch {
    TimestampSearch(
      store: store, timestamp: timestamp, from: logStart.rawValue, limit: highWatermark.rawValue)
  }

  /// Moves the log start up to `before`: submit the entry; records below are unreadable once the
  /// advance that carries the new start was applied, and their segments go later (R34).
  /// Home executor. Throws OFFSET_OUT_OF_RANGE above the high watermark.
  package func deleteRecords(before: Offset) throws(Fault) -> PendingEntry {
    if shared.isOffline { throw shared.offlineFault }
    if before > highWatermark || before < .zero { throw rangeFault(before) }
    if let why = corruption { throw Self.corruptFault(key, why) }
    let bytes = Self.controlEntryBytes
    guard shared.queue.reserve(bytes) else {
      throw Fault(.overloaded, "the log's queue is full", retryAfterMilliseconds: 50)
    }
    return PendingEntry(
      kind: .logStart(max(before, logStart).rawValue), log: self, end: logEnd.rawValue,
      reservedBytes: bytes)
  }

  /// What an entry without a batch takes of the submit queue, in bytes.
  static let controlEntryBytes = 64

  private enum Seen {
    case fault(Fault)
    case nothing
    case entries([TailEntry])
    case onDisk
  }

  private func rangeFault(_ offset: Offset) -> Fault { rangeFault(offset, logStart, highWatermark) }

  func rangeFault(_ offset: Offset, _ start: Offset, _ end: Offset) -> Fault {
    Fault(
      .offsetOutOfRange,
      "offset \(offset) of partition \(key.partition) is not in \(start) ... \(end)",
      metadata: [
        "partition": String(key.partition), "offset": "\(offset)", "log_start_offset": "\(start)",
        "high_watermark": "\(end)",
      ])
  }

  func truncatedFault(_ offset: Offset, _ epoch: LeaderEpoch, _ end: Int64) -> Fault {
    Fault(
      .logTruncated,
      "offset \(offset) of partition \(key.partition) was read under epoch \(epoch), whose records now end at \(end)",
      metadata: [
        "partition": String(key.partition), "offset": "\(offset)", "end_offset": String(end),
        "epoch": "\(epoch)",
      ])
  }
}
