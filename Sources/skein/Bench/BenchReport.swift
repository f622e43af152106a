import ArgumentParser
import Histogram
import SkeinCore
import Synchronization

/// The result of a measurement, with the keys of protocol.md.
struct BenchReport {
  var records: Int64
  var bytes: Int64
  var seconds: Double
  var latency: LatencyRecorder.Summary

  var json: JSON {
    .object([
      ("records", .int(records)), ("bytes", .int(bytes)), ("seconds", .double(rounded(seconds, 1e6))),
      ("records_per_second", .double(rounded(perSecond(records), 10))),
      ("megabytes_per_second", .double(rounded(perSecond(bytes) / 1e6, 100))),
      (
        "latency_us",
        .object([
          ("p50", .int(latency.p50)), ("p90", .int(latency.p90)), ("p99", .int(latency.p99)),
          ("p999", .int(latency.p999)), ("max", .int(latency.max)),
        ])
      ),
    ])
  }

  var table: String {
    var table = Table(["RECORDS", "SECONDS", "RECORDS/S", "MB/S", "P50 µs", "P90", "P99", "P99.9", "MAX"])
    table.add(
      [
        String(records), String(rounded(seconds, 1000)), String(rounded(perSecond(records), 1)),
        String(rounded(perSecond(bytes) / 1e6, 10)),
      ] + [latency.p50, latency.p90, latency.p99, latency.p999, latency.max].map(String.init))
    return table.text
  }

  private func perSecond(_ count: Int64) -> Double { seconds > 0 ? Double(count) / seconds : 0 }
  private func rounded(_ value: Double, _ places: Double) -> Double {
    (value * places).rounded() / places
  }
}

/// Latencies in microseconds, three significant digits, up to ten minutes. Any thread (locked); record
/// many at once.
final class LatencyRecorder: Sendable {
  struct Summary {
    var p50: Int64 = 0
    var p90: Int64 = 0
    var p99: Int64 = 0
    var p999: Int64 = 0
    var max: Int64 = 0
  }

  private static let highest: UInt64 = 600_000_000
  private let histogram = Mutex(
    Histogram<UInt64>(highestTrackableValue: highest, numberOfSignificantValueDigits: .three))

  /// Records `now - start` for each start, in nanoseconds of one clock.
  func record(startedAt starts: [UInt64], now: Int64) {
    histogram.withLock { histogram in
      for start in starts { histogram.record(Self.microseconds(now - Int64(start))) }
    }
  }

  func record(nanoseconds: Int64) {
    histogram.withLock { _ = $0.record(Self.microseconds(nanoseconds)) }
  }

  private static func microseconds(_ nanoseconds: Int64) -> UInt64 {
    min(highest, UInt64(max(0, nanoseconds) / 1000))
  }

  var summary: Summary {
    histogram.withLock { histogram in
      guard histogram.totalCount > 0 else { return Summary() }
      func at(_ percentile: Double) -> Int64 { Int64(histogram.valueAtPercentile(percentile)) }
      return Summary(p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: at(100))
    }
  }
}

/// What every `bench` command takes.
struct BenchOptions: ParsableArguments {
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Option(help: "The topic.") var topic: String
  @Flag(help: "The same as --output json.") var json = false

  func show(_ report: BenchReport) throws {
    if json { return try Console.print(report.json.text) }
    try options.show(report.json, names: [topic]) { report.table }
  }
}

struct BenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure publishing, reading and end-to-end latency.",
    subcommands: [BenchProduce.self, BenchConsume.self, BenchLatency.self])
}
