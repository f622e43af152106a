import RecordFormat
import SkeinCore

/// A message of the broker: batches of one partition, laid end to end. Shared by `Reader` and `Consumer`.
struct ReceivedChunk: Sendable {
  let topic: String
  let partition: Int32
  let bytes: SharedBytes
  /// Offsets that the application is to see.
  let visible: Range<Int64>
  let highWatermark: Int64
  let nextOffset: Int64
  let leaderEpoch: Int32
  let charge: CreditWindow.Amount

  /// The next batch at or after `position`, in bytes; nil at the end.
  func batch(at position: Int) -> Result<(Range<Int>, BatchHeader), SkeinError>? {
    guard position < bytes.count else { return nil }
    return bytes.slice(position..<bytes.count).withUnsafeBytes { bytes in
      var splitter = BatchSplitter(bytes)
      do throws(BatchError) {
        guard let batch = try splitter.next() else { return nil }
        return .success((position..<position + batch.range.upperBound, batch.header))
      } catch {
        return .failure(undecodable(error))
      }
    }
  }

  /// The batch for the application, once its CRC is checked.
  func checked(
    _ bytes: SharedBytes, _ header: BatchHeader, _ scratch: DecodeScratch, _ metrics: ReceivedMetrics
  ) throws(SkeinError) -> RecordBatch {
    do throws(BatchError) {
      _ = try bytes.withUnsafeBytes { (bytes) throws(BatchError) in try BatchCheck.stored(bytes) }
    } catch { throw undecodable(error) }
    metrics.took(
      records: Int(header.recordCount), bytes: bytes.count, lag: max(0, highWatermark - header.nextOffset))
    return RecordBatch(
      topic: topic, partition: partition, baseOffset: header.baseOffset, nextOffset: header.nextOffset,
      recordCount: Int(header.recordCount), leaderEpoch: header.leaderEpoch, highWatermark: highWatermark,
      bytes: bytes, visible: visible, scratch: scratch)
  }

  func undecodable(_ error: BatchError) -> SkeinError {
    SkeinError(
      .batchUndecodable, "\(topic)/\(partition): \(error.fault.message); go on at \(nextOffset)",
      metadata: [
        "topic": topic, "partition": String(partition), "next_offset": String(nextOffset),
      ], cause: error)
  }
}
