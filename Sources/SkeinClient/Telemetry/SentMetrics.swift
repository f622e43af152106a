import Metrics

/// What a producer did in one topic, through swift-metrics: whatever backend the application bootstrapped.
/// Counted once a batch. Any thread.
final class SentMetrics: Sendable {
  private let records: Counter
  private let bytes: Counter
  private let batches: Counter
  private let retries: Counter
  private let failures: Counter
  private let latency: Timer

  init(topic: String) {
    let dimensions = [("topic", topic)]
    records = Counter(label: "skein_client_sent_records", dimensions: dimensions)
    bytes = Counter(label: "skein_client_sent_bytes", dimensions: dimensions)
    batches = Counter(label: "skein_client_sent_batches", dimensions: dimensions)
    retries = Counter(label: "skein_client_batch_retries", dimensions: dimensions)
    failures = Counter(label: "skein_client_failed_records", dimensions: dimensions)
    latency = Timer(
      label: "skein_client_send_latency", dimensions: dimensions, preferredDisplayUnit: .milliseconds)
  }

  /// - Parameter nanoseconds: from the batch's first record to its end.
  func ended(
    _ batch: OutboundBatch, _ result: Result<BatchAcknowledgement, SkeinError>, nanoseconds: Int64
  ) {
    if batch.sendings > 1 { retries.increment(by: batch.sendings - 1) }
    guard case .success = result else { return failures.increment(by: Int64(batch.recordCount)) }
    records.increment(by: Int64(batch.recordCount))
    bytes.increment(by: Int64(batch.payload.count))
    batches.increment()
    latency.recordNanoseconds(nanoseconds)
  }
}
