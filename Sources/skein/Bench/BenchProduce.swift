import ArgumentParser
import SkeinClient
import SkeinCore

struct BenchProduce: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "produce", abstract: "Publish random records and measure until each is acknowledged.",
    discussion: """
      Latency is from handing a record over to its acknowledgement. With --rate it is
      an open loop: latency counts from when the record was due, so that a stall is
      not hidden by a sender that waited for it.
      """)
  @OptionGroup var bench: BenchOptions
  @Option(help: "How many.") var records = 1_000_000
  @Option(help: "Bytes of each value.") var size = 1000
  @Option(help: "Close batches at this size.") var batchBytes = 128 * 1024
  @Option(help: "Batches in flight per partition at most.") var inFlight = 32
  @Option(help: "Records per second (default: as many as possible).") var rate: Double?
  @Option(help: "random or none.") var keys = Keys.none
  @Option(help: "Make the topic with so many partitions if it does not exist.") var partitions: Int32?
  @Option(help: "Wait at most this long for more records per batch.") var lingerMs = 5
  @Option(help: "none, gzip, lz4 or zstd.") var compression = ProduceCommand.Compression.none
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
      if bench.warmUp > 0 {
        latency.begin(at: .max)
        try await send(target, count: .max, until: monotonicNow() + bench.warmUpNanoseconds)
        try await producer.flush()
      }
      let start = monotonicNow()
      latency.begin(at: start)
      try await send(target, count: records, until: .max)
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

  /// - Parameter end: the warm-up ends at a time instead of a count.
  private func send(_ target: ProducerTopic, count: Int, until end: Int64) async throws {
    var payload = RandomPayload(size: size)
    var pace = Pace(rate: rate)
    var key: UInt64 = 88_172_645_463_325_252
    var progress = Progress(total: end == .max ? records : nil)
    defer { progress.finish() }
    let hasKeys = keys == .random
    for number in 0..<count {
      if number & 1023 == 0 { progress.update(number) }
      let due = pace.isClosedLoop ? monotonicNow() : try await pace.next()
      if due >= end { return }
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
