import ArgumentParser
import SkeinClient
import SkeinCore

struct BenchLatency: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latency", abstract: "Measure from when a record was due to when a reader has it.",
    discussion: "An open loop with one producer and one reader in this process, by one clock.")
  @OptionGroup var bench: BenchOptions
  @Option(help: "How many.") var records = 10_000
  @Option(help: "Bytes of each value, at least 24.") var size = 1000
  @Option(help: "Records per second.") var rate: Double = 1000
  @Option(help: "Make the topic with so many partitions if it does not exist.") var partitions: Int32?
  @Option(help: "Wait at most this long for more records per batch.") var lingerMs = 0

  func validate() throws {
    guard records > 0, rate > 0, (EndToEnd.headBytes...8_000_000).contains(size) else {
      throw ValidationError("--records and --rate must be above 0, --size 24 to 8000000")
    }
  }

  func run() async throws {
    let load = EndToEnd(
      topic: bench.topic, rate: rate, size: size, producers: 1, readers: 1, linger: .milliseconds(lingerMs),
      bufferBytes: 16 * 1024 * 1024,
      warmUp: bench.warmUpNanoseconds, amount: .records(records))
    let result = try await bench.connection.withClient { client in
      if let partitions { try await BenchTopic.make(client, bench.topic, partitions) }
      return try await load.run(client)
    }
    try bench.show(result.report(size: size, withDetails: false))
    try result.check()
  }
}
