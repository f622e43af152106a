import ArgumentParser
import SkeinClient
import SkeinCore

struct BenchLatency: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latency", abstract: "Measure from when a record was due to when a reader has it.",
    discussion: "An open loop with one producer and one reader in this process, by one clock.")
  @OptionGroup var bench: BenchOptions
  @Option(help: "How many.") var records = 10_000
  @Option(help: "Bytes of each value, at least 8.") var size = 1000
  @Option(help: "Records per second.") var rate: Double = 1000
  @Option(help: "Make the topic with so many partitions if it does not exist.") var partitions: Int32?
  @Option(help: "Wait at most this long for more records per batch.") var lingerMs = 0

  func validate() throws {
    guard records > 0, rate > 0, (8...8_000_000).contains(size) else {
      throw ValidationError("--records and --rate must be above 0, --size 8 to 8000000")
    }
  }

  func run() async throws {
    let latency = LatencyRecorder()
    let seconds = try await bench.connection.withClient { client in
      if let partitions { try await BenchTopic.make(client, bench.topic, partitions) }
      let reader = try await client.reader(topic: bench.topic, from: .end)
      var plan = ProducerConfiguration()
      plan.linger = .milliseconds(lingerMs)
      let producer = try await client.producer(plan)
      let target = try await producer.topic(bench.topic)
      let start = monotonicNow()
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await send(target) }
        group.addTask { try await receive(reader, latency) }
        try await group.waitForAll()
      }
      let seconds = Double(monotonicNow() - start) / 1e9
      try await producer.close()
      await reader.close()
      return seconds
    }
    try bench.show(
      BenchReport(
        records: Int64(records), bytes: Int64(records) * Int64(size), seconds: seconds,
        latency: latency.summary))
  }

  private func send(_ target: ProducerTopic) async throws {
    var pace = Pace(rate: rate)
    var value = [UInt8](repeating: 0x5a, count: size)
    for _ in 0..<records {
      let due = try await pace.next()
      value.withUnsafeMutableBytes { $0.storeBytes(of: due, as: Int64.self) }
      while try value.withUnsafeBytes({ try target.tryAppend(value: $0) }) == .bufferFull {
        await target.waitForSpace()
      }
    }
  }

  private func receive(_ reader: Reader, _ latency: LatencyRecorder) async throws {
    var left = records
    while left > 0, let batch = try await reader.nextBatch() {
      let now = monotonicNow()
      try batch.forEachRecord { record in
        left -= 1
        guard let value = record.value, value.count >= 8 else { return }
        latency.record(nanoseconds: now - value.loadUnaligned(as: Int64.self))
      }
    }
  }
}
