import ArgumentParser
import SkeinClient
import SkeinCore

struct BenchMixed: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mixed",
    abstract: "Producers and readers at once, at a given rate: end-to-end latency under load.",
    discussion: """
      An open loop: records are due at a fixed rate over all producers, and latency
      counts from when each was due, to its acknowledgement (ack) and to each
      reader's having it (end to end, latency_us). Every reader must get every record
      once: a lost or repeated one is a failure (exit 1).
      """)
  @OptionGroup var bench: BenchOptions
  @Option(help: "Producers, each with a connection of its own.") var producers = 2
  @Option(help: "Readers; each reads all partitions.") var readers = 2
  @Option(help: "Records per second of all producers together.") var rate: Double = 10_000
  @Option(help: "Measure so long.") var seconds = 10.0
  @Option(help: "Bytes of each value, at least 24.") var size = 1000
  @Option(help: "Make the topic with so many partitions if it does not exist.") var partitions: Int32?
  @Option(help: "Wait at most this long for more records per batch.") var lingerMs = 1
  @Option(help: "Bytes that each producer accepts and that are not yet acknowledged.")
  var bufferBytes = 16 * 1024 * 1024

  func validate() throws {
    guard (1...64).contains(producers), (0...64).contains(readers) else {
      throw ValidationError("--producers must be 1 to 64, --readers 0 to 64")
    }
    guard rate > 0, rate <= 1e8, seconds > 0, seconds <= 86_400, rate * seconds >= 1 else {
      throw ValidationError(
        "--rate must be above 0 and at most 1e8, --seconds at most 86400, and give a record at least")
    }
    guard (1 << 16...1 << 30).contains(bufferBytes), bufferBytes >= 2 * size else {
      throw ValidationError("--buffer-bytes must be 65536 to 1073741824, and hold two records at least")
    }
    guard (EndToEnd.headBytes...8_000_000).contains(size) else {
      throw ValidationError("--size must be \(EndToEnd.headBytes) to 8000000, is \(size)")
    }
  }

  func run() async throws {
    let load = EndToEnd(
      topic: bench.topic, rate: rate, size: size, producers: producers, readers: readers,
      linger: .milliseconds(lingerMs), bufferBytes: bufferBytes, warmUp: bench.warmUpNanoseconds,
      amount: .seconds(seconds))
    let result = try await bench.connection.withClient { client in
      if let partitions { try await BenchTopic.make(client, bench.topic, partitions) }
      return try await load.run(client)
    }
    try bench.show(result.report(size: size, withDetails: true))
    try result.check()
  }
}
