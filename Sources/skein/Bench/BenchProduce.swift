import ArgumentParser
import SkeinClient
import SkeinCore

struct BenchProduce: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "produce", abstract: "Publish random records and measure until each is acknowledged.",
    discussion: "With --rate it is an open loop: latency counts from when a record was due.")
  @OptionGroup var bench: BenchOptions
  @Option(help: "How many.") var records = 1_000_000
  @Option(help: "Bytes of each value.") var size = 1000
  @Option(help: "Close batches at this size.") var batchBytes = 128 * 1024
  @Option(help: "Batches in flight per partition at most.") var inFlight = 32
  @Option(help: "Records per second (default: as many as possible).") var rate: Double?
  @Option(help: "random or none.") var keys = Keys.none
  @Option(help: "Make the topic with so many partitions if it does not exist.") var partitions: Int32?
  @Option(help: "Wait at most this long for more records per batch.") var lingerMs = 5
  @Option(help: "zstd, gzip or none.") var compression = ProduceCommand.Compression.none
  /// The broker's window on a stream; more would only queue, and wash the caches.
  @Option(help: "Bytes accepted and not yet acknowledged.") var bufferBytes = 16 * 1024 * 1024

  enum Keys: String, ExpressibleByArgument, CaseIterable { case random, none }

  func validate() throws {
    guard records > 0, (0...8_000_000).contains(size), rate.map({ $0 > 0 }) ?? true else {
      throw ValidationError("--records and --rate must be above 0, --size 0 to 8000000")
    }
  }

  func run() async throws {
    let latency = LatencyRecorder()
    var configuration = ProducerConfiguration()
    configuration.batchBytes = batchBytes
    configuration.maxInFlightBatches = inFlight
    configuration.linger = .milliseconds(lingerMs)
    configuration.compression = compression.codec
    configuration.bufferBytes = max(bufferBytes, batchBytes)
    configuration.deliveryHandler = { delivery in
      if case .success = delivery.result {
        latency.record(startedAt: delivery.tags, now: monotonicNow())
      }
    }
    let plan = configuration
    let seconds = try await bench.connection.withClient { client in
      if let partitions { try await BenchTopic.make(client, bench.topic, partitions) }
      let producer = try await client.producer(plan)
      let target = try await producer.topic(bench.topic)
      let start = monotonicNow()
      try await send(target)
      try await producer.flush()
      let end = monotonicNow()
      try await producer.close()
      return Double(end - start) / 1e9
    }
    try bench.show(
      BenchReport(
        records: Int64(records), bytes: Int64(records) * Int64(size), seconds: seconds,
        latency: latency.summary))
  }

  private func send(_ target: ProducerTopic) async throws {
    var payload = RandomPayload(size: size)
    var pace = Pace(rate: rate)
    var key: UInt64 = 88_172_645_463_325_252
    var progress = Progress(total: records)
    defer { progress.finish() }
    let hasKeys = keys == .random
    for number in 0..<records {
      if number & 1023 == 0 { progress.update(number) }
      let due = pace.isClosedLoop ? monotonicNow() : try await pace.next()
      if hasKeys {
        key ^= key << 13
        key ^= key >> 7
        key ^= key << 17
      }
      while try append(target, &payload, hasKeys ? key : nil, due) == .bufferFull {
        await target.waitForSpace()
      }
    }
  }

  @inline(__always)
  private func append(
    _ target: ProducerTopic, _ payload: inout RandomPayload, _ key: UInt64?, _ due: Int64
  ) throws -> ProducerTopic.AppendOutcome {
    try payload.next { value in
      guard let key else { return try target.tryAppend(value: value, tag: UInt64(due)) }
      return try withUnsafeBytes(of: key) { try target.tryAppend(key: $0, value: value, tag: UInt64(due)) }
    }
  }
}

/// The topic that a measurement uses.
enum BenchTopic {
  /// Makes it unless it exists.
  static func make(_ client: Client, _ name: String, _ partitions: Int32) async throws {
    do {
      try await client.admin.createTopic(name, partitions: partitions)
    } catch  where error.reason == Reason.topicExists.name {}
  }
}
