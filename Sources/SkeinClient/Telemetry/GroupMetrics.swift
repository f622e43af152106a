import Metrics

/// What a consumer did as a member of its group, through swift-metrics. Any thread.
final class GroupMetrics: Sendable {
  private let commits: Counter
  private let failures: Counter
  private let resets: Counter
  private let fences: Counter
  private let reconnects: Counter
  private let partitions: Gauge
  private let lag: Gauge
  private let delay: Gauge

  init(group: String) {
    let dimensions = [("group", group)]
    commits = Counter(label: "skein_client_committed_offsets", dimensions: dimensions)
    failures = Counter(label: "skein_client_failed_commits", dimensions: dimensions)
    resets = Counter(label: "skein_client_consumer_resets", dimensions: dimensions)
    fences = Counter(label: "skein_client_consumer_fenced", dimensions: dimensions)
    reconnects = Counter(label: "skein_client_consumer_reconnects", dimensions: dimensions)
    partitions = Gauge(label: "skein_client_consumer_partitions", dimensions: dimensions)
    lag = Gauge(label: "skein_client_consumer_lag_records", dimensions: dimensions)
    delay = Gauge(label: "skein_client_consumer_lag_seconds", dimensions: dimensions)
  }

  func committed(_ count: Int) { commits.increment(by: count) }
  func commitFailed() { failures.increment() }
  func reset() { resets.increment() }
  func fenced() { fences.increment() }
  func reconnected() { reconnects.increment() }

  /// What the member has, and the group's lag in it: the sum of records, the longest time.
  func has(_ count: Int, lag lags: [ConsumerLag]) {
    partitions.record(count)
    lag.record(lags.reduce(0) { $0 + $1.records })
    delay.record(lags.map { Double($0.time.nanosecondsClamped) / 1e9 }.max() ?? 0)
  }
}
