import Histogram
import SkeinCore
import Synchronization

/// Latencies in microseconds, three significant digits, up to ten minutes. Any thread (locked); record
/// many at once.
final class LatencyRecorder: Sendable {
  struct Summary {
    var p50: Int64 = 0
    var p90: Int64 = 0
    var p99: Int64 = 0
    var p999: Int64 = 0
    var p9999: Int64 = 0
    var max: Int64 = 0

    private var values: [(String, Int64)] {
      [("p50", p50), ("p90", p90), ("p99", p99), ("p999", p999), ("p9999", p9999), ("max", max)]
    }
    var json: JSON { .integers(values) }
    var cells: [String] { values.map { String($0.1) } }
  }

  private static let highest: UInt64 = 600_000_000
  private let histogram = Mutex(
    Histogram<UInt64>(highestTrackableValue: highest, numberOfSignificantValueDigits: .three))
  /// What was due before this time is warm-up.
  private let beginning: Atomic<Int64>

  /// - Parameter beginning: in nanoseconds of the monotonic clock; nothing due earlier is counted.
  init(from beginning: Int64 = .min) { self.beginning = Atomic(beginning) }

  func begin(at time: Int64) { beginning.store(time, ordering: .relaxed) }

  /// Records `now - start` for each start, in nanoseconds of one clock.
  func record(startedAt starts: [UInt64], now: Int64) {
    let beginning = beginning.load(ordering: .relaxed)
    histogram.withLock { histogram in
      for start in starts where Int64(start) >= beginning {
        histogram.record(Self.microseconds(now - Int64(start)))
      }
    }
  }

  func record(startedAt start: Int64, now: Int64) {
    guard start >= beginning.load(ordering: .relaxed) else { return }
    histogram.withLock { _ = $0.record(Self.microseconds(now - start)) }
  }

  private static func microseconds(_ nanoseconds: Int64) -> UInt64 {
    min(highest, UInt64(max(0, nanoseconds) / 1000))
  }

  var count: Int64 { histogram.withLock { Int64($0.totalCount) } }

  var summary: Summary {
    histogram.withLock { histogram in
      guard histogram.totalCount > 0 else { return Summary() }
      func at(_ percentile: Double) -> Int64 { Int64(histogram.valueAtPercentile(percentile)) }
      return Summary(p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), p9999: at(99.99), max: at(100))
    }
  }
}
