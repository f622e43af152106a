import RecordFormat
import SkeinCore

/// Compresses sealed batches with the one compression context that a producer has for a codec.
///
/// Open batches are built plain: a context takes up to megabytes, and a producer may have a thousand
/// batches open. The records are copied once more here, which costs little beside compressing them.
/// Confined to the producer's lock.
final class BatchCompressor {
  private var builder: BatchBuilder
  private var reader = BatchReader()

  init(codec: Codec, capacity: Int) { builder = BatchBuilder(codec: codec, capacity: capacity) }

  /// The records of `plain` in a compressed batch (plain again if that is not smaller).
  func compress(
    _ plain: SharedBytes, producerID: Int64, producerEpoch: Int16, baseSequence: Int32
  ) throws(BatchError) -> SharedBytes {
    builder.removeAll()
    do {
      try plain.withUnsafeBytes { bytes in
        _ = try reader.forEach(bytes, verifyingChecksum: false) { record in
          try builder.append(
            key: record.key, value: record.value, headers: record.headers,
            timestamp: record.timestamp)
        }
      }
    } catch let error as BatchError {
      throw error
    } catch { throw .emptyBatch }
    return try builder.finish(
      producerID: producerID, producerEpoch: producerEpoch, baseSequence: baseSequence)
  }
}
