import RecordFormat
import SkeinCore

/// One answered chunk on its way into its topic's open batches, outside of the producer's lock: that is held before,
/// to take the batches out (`ProducerBuffer.beginPlacing`), and after, to seal those that are full and to put the
/// others back (`endPlacing`). One of a topic at a time, so a key's records keep their order.
///
/// Records are sorted by partition first, each partition's in order: a batch is fetched once for all its records,
/// and they are copied in a row.
///
/// `@unchecked Sendable`: it belongs to one thread at a time; the lock lies between.
final class ChunkPlacing: @unchecked Sendable {
  typealias OpenBatch = ProducerBuffer.OpenBatch

  let topic: Int
  let chunk: StagedChunk
  let partitions: [Int32]
  /// For batches that are opened here.
  let codec: Codec
  let metrics: SentMetrics
  let limits: BatchLimits
  let batchBytes: Int
  /// The open batch of each partition, taken from the producer; nil: none.
  var open: [OpenBatch?]
  /// Bytes to allocate for each partition's next batch.
  var hints: [Int]

  /// Full ones, in the order in which they were filled.
  private(set) var full: [(partition: Int, batch: OpenBatch)] = []
  /// What was added to batches, in bytes of the producer's buffer.
  private(set) var added = 0
  /// Records that no batch takes: none, as their sizes were checked.
  private(set) var refused = 0

  init(
    topic: Int, chunk: StagedChunk, partitions: [Int32], codec: Codec, metrics: SentMetrics,
    limits: BatchLimits,
    batchBytes: Int, open: [OpenBatch?], hints: [Int]
  ) {
    self.topic = topic
    self.chunk = chunk
    self.partitions = partitions
    self.codec = codec
    self.metrics = metrics
    self.limits = limits
    self.batchBytes = batchBytes
    self.open = open
    self.hints = hints
  }

  /// Puts every record into a batch. Outside of the lock; once.
  func run() {
    let starts = self.starts()
    let count = chunk.count
    let tagged = chunk.tags.count
    withUnsafeTemporaryAllocation(of: PreparedRecord.self, capacity: count) { sorted in
      withUnsafeTemporaryAllocation(of: UInt64.self, capacity: tagged) { tags in
        sort(starts, sorted, tags)
        for partition in open.indices where starts[partition] < starts[partition + 1] {
          let range = starts[partition]..<starts[partition + 1]
          fill(
            partition, UnsafeBufferPointer(rebasing: sorted[range]),
            UnsafeBufferPointer(rebasing: tagged == 0 ? tags[...] : tags[range]))
        }
      }
    }
  }

  /// Where each partition's records begin among the sorted ones; one more at the end.
  private func starts() -> [Int] {
    var starts = [Int](repeating: 0, count: open.count + 1)
    for partition in partitions { starts[Int(partition) + 1] += 1 }
    for at in 1..<starts.count { starts[at] += starts[at - 1] }
    return starts
  }

  private func sort(
    _ starts: [Int], _ sorted: UnsafeMutableBufferPointer<PreparedRecord>,
    _ tags: UnsafeMutableBufferPointer<UInt64>
  ) {
    var next = starts
    let records = chunk.records.all
    next.withUnsafeMutableBufferPointer { next in
      partitions.withUnsafeBufferPointer { partitions in
        for at in records.indices {
          let partition = Int(partitions[at])
          sorted.initializeElement(at: next[partition], to: records[at])
          next[partition] += 1
        }
        guard !tags.isEmpty else { return }
        // The counters stand at the ends now; the same way back.
        chunk.tags.withUnsafeBufferPointer { source in
          for at in source.indices.reversed() {
            let partition = Int(partitions[at])
            next[partition] -= 1
            tags.initializeElement(at: next[partition], to: source[at])
          }
        }
      }
    }
  }

  private func fill(
    _ partition: Int, _ records: UnsafeBufferPointer<PreparedRecord>, _ tags: UnsafeBufferPointer<UInt64>
  ) {
    var at = 0
    while at < records.count {
      if let batch = open[partition], batch.codec != codec || batch.charged >= batchBytes {
        close(partition, batch)
      }
      let batch = open[partition] ?? openBatch(partition)
      let (taken, bytes) = batch.builder.append(
        UnsafeBufferPointer(rebasing: records[at...]), of: chunk.records, room: batchBytes - batch.charged,
        overhead: Self.overhead)
      batch.book(
        taken, cost: bytes, tags: tags.isEmpty ? nil : UnsafeBufferPointer(rebasing: tags[at..<at + taken]))
      added += bytes
      at += taken
      if at < records.count || batch.charged >= batchBytes {
        guard batch.builder.count > 0 else {
          refused += records.count - at
          open[partition] = nil
          return
        }
        close(partition, batch)
      }
    }
  }

  /// A prepared record counts two lengths, 2 bytes at the least, that `sizeInBytes` of a record does not.
  private static let overhead = ProducerBuffer.recordOverhead - 2

  private func openBatch(_ partition: Int) -> OpenBatch {
    let batch = OpenBatch(
      builder: BatchBuilder(capacity: hints[partition], limits: limits), topic: topic, codec: codec,
      metrics: metrics, openedAt: chunk.openedAt, startsExplicit: false)
    open[partition] = batch
    return batch
  }

  private func close(_ partition: Int, _ batch: OpenBatch) {
    full.append((partition, batch))
    open[partition] = nil
    hints[partition] = batchBytes + BatchHeader.size
  }
}
