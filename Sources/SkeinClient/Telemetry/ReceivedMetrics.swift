import Metrics

/// What a reader received of one topic, through swift-metrics. Counted once a batch. Any thread.
final class ReceivedMetrics: Sendable {
  private let records: Counter
  private let bytes: Counter
  private let batches: Counter
  private let reconnects: Counter
  private let lag: Gauge

  init(topic: String) {
    let dimensions = [("topic", topic)]
    records = Counter(label: "skein_client_received_records", dimensions: dimensions)
    bytes = Counter(label: "skein_client_received_bytes", dimensions: dimensions)
    batches = Counter(label: "skein_client_received_batches", dimensions: dimensions)
    reconnects = Counter(label: "skein_client_reader_reconnects", dimensions: dimensions)
    lag = Gauge(label: "skein_client_reader_lag_records", dimensions: dimensions)
  }

  /// - Parameter lag: records behind the high watermark, in the batch's partition.
  func took(records count: Int, bytes size: Int, lag behind: Int64) {
    records.increment(by: Int64(count))
    bytes.increment(by: Int64(size))
    batches.increment()
    lag.record(behind)
  }

  func reconnected() { reconnects.increment() }
}
