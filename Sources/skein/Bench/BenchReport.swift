import ArgumentParser
import SkeinClient
import SkeinCore

/// The result of a measurement, with the keys of protocol.md.
struct BenchReport {
  var records: Int64
  var bytes: Int64
  var seconds: Double
  /// What `latency_us` means stands in each command's help.
  var latency: LatencyRecorder.Summary
  /// Further latencies and counts, after the keys of protocol.md.
  var more: [(name: String, latency: LatencyRecorder.Summary)] = []
  var counts: [(String, Int64)] = []

  var json: JSON {
    .object(
      [
        ("records", .int(records)), ("bytes", .int(bytes)), ("seconds", .double(rounded(seconds, 1e6))),
        ("records_per_second", .double(rounded(perSecond(records), 10))),
        ("megabytes_per_second", .double(rounded(perSecond(bytes) / 1e6, 100))),
        ("latency_us", latency.json),
      ] + more.map { ("\($0.name)_latency_us", $0.latency.json) } + counts.map { ($0.0, .int($0.1)) })
  }

  var table: String {
    var table = Table(["RECORDS", "SECONDS", "RECORDS/S", "MB/S"] + counts.map { $0.0.uppercased() })
    table.add(
      [
        String(records), String(rounded(seconds, 1000)), String(rounded(perSecond(records), 1)),
        String(rounded(perSecond(bytes) / 1e6, 10)),
      ] + counts.map { String($0.1) })
    var latencies = Table(
      ["LATENCY µs", "P50", "P90", "P99", "P99.9", "P99.99", "MAX"], right: [1, 2, 3, 4, 5, 6])
    latencies.add([more.isEmpty ? "" : "end to end"] + latency.cells)
    for (name, latency) in more { latencies.add([name] + latency.cells) }
    return table.text + "\n\n" + latencies.text
  }

  private func perSecond(_ count: Int64) -> Double { seconds > 0 ? Double(count) / seconds : 0 }
  private func rounded(_ value: Double, _ places: Double) -> Double {
    (value * places).rounded() / places
  }
}

/// What every `bench` command takes.
struct BenchOptions: ParsableArguments {
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Option(help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
  @Flag(help: "The same as --output json.") var json = false
  @Option(
    help: ArgumentHelp(
      "Work so long before anything is counted, so that connections, caches and disks are warm.",
      valueName: "seconds"))
  var warmUp = 0.0

  mutating func validate() throws {
    guard (0...3600).contains(warmUp) else {
      throw ValidationError("--warm-up must be 0 to 3600 s, is \(warmUp)")
    }
  }

  var warmUpNanoseconds: Int64 { Int64(warmUp * 1e9) }

  func show(_ report: BenchReport) throws {
    if json { return try Console.print(report.json.text) }
    try options.show(report.json, names: [topic]) { report.table }
  }
}

struct BenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure publishing, reading and end-to-end latency.",
    subcommands: [BenchProduce.self, BenchConsume.self, BenchLatency.self, BenchMixed.self])
}

/// The topic that a measurement uses.
enum BenchTopic {
  /// Makes it unless it exists.
  static func make(_ client: Client, _ name: String, _ partitions: Int32) async throws {
    _ = try await nilIf(.topicExists) { try await client.admin.createTopic(name, partitions: partitions) }
  }
}
