import CommitLog
import NIOCore
import RecordFormat
import SkeinCore

/// Reads the newest records of a topic, off the event loops.
struct RecordSample: Sendable {
  let context: BrokerContext
  let topic: Topic
  /// Records, all partitions together.
  let limit: Int

  /// Stored bytes that one sample may read, and bytes of keys and headers that it may hold at once.
  private static let maximumRead = 64 << 20
  private static let maximumHeld = 8 << 20

  /// A record of the sample, valid inside the closure only.
  struct Sampled {
    let partition: Int32
    let record: RecordView
  }

  /// Calls `take` with every record; after each chunk of at most `PlacementColumns.maximum` records, `flush`.
  func forEach(
    _ take: (Sampled) -> Int, flush: () async throws -> Void
  ) async throws {
    let each = Int64(max(1, (limit + Int(topic.partitions) - 1) / Int(topic.partitions)))
    var read = 0
    var taken = 0
    var chunk = 0
    var held = 0
    var reader = BatchReader()
    // So that a partition of large records does not speak for all of them.
    let most = max(1 << 20, Self.maximumRead / max(1, Int(topic.partitions)))
    let facts = try await context.partitionStates(of: topic, Array(0..<topic.partitions))
    for state in facts where state.fault == nil {
      let end = state.highWatermark.rawValue
      var position = max(state.logStart.rawValue, end - each)
      let until = read + most
      while position < end, read < until, read < Self.maximumRead, taken < limit {
        let key = TopicPartition(topic: topic.id, partition: state.partition)
        guard let slice = await slice(key, from: Offset(position)), slice.next.rawValue > position else {
          break
        }
        read += slice.bytes
        for batch in slice.batches {
          // What does not decode is not placed either; it does not stand in the way of a swap.
          _ = try? batch.withUnsafeBytes { bytes in
            try reader.forEach(bytes, verifyingChecksum: false) { record in
              guard record.offset >= position, taken < limit else { return }
              held += take(Sampled(partition: state.partition, record: record))
              taken += 1
              chunk += 1
            }
          }
          guard chunk >= PlacementColumns.maximum / 2 || held >= Self.maximumHeld else { continue }
          try await flush()
          (chunk, held) = (0, 0)
        }
        position = slice.next.rawValue
      }
      guard read < Self.maximumRead, taken < limit else { break }
    }
    if chunk > 0 { try await flush() }
  }

  private func slice(_ key: TopicPartition, from offset: Offset) async -> ReadSlice? {
    let shard = context.partitions.shard(of: key)
    return await withCheckedContinuation { (continuation: CheckedContinuation<ReadSlice?, Never>) in
      shard.loop.execute {
        shard.read(key, from: offset, maxBytes: 1 << 20, lastEpoch: nil, replyLoop: shard.loop) { result in
          switch result {
          case .success(let slice): continuation.resume(returning: slice)
          case .failure: continuation.resume(returning: nil)
          }
        }
      }
    }
  }
}
