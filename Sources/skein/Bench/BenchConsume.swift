import ArgumentParser
import SkeinClient
import SkeinCore

struct BenchConsume: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "consume", abstract: "Read from the beginning, checking and decoding every record.",
    discussion: """
      Latency is the wait for each batch, from asking to having it. With --group it
      reads as the only member of that group, with automatic commits; use a name that
      has committed nothing.
      """)
  @OptionGroup var bench: BenchOptions
  @Option(help: "How many (default: what is there at the start).") var records: Int?
  @Option(help: "Read as a member of this consumer group; needs --records.") var group: String?
  @Option(help: "Stored bytes that may be on their way or waiting.") var bufferBytes = 8 * 1024 * 1024
  @Option(help: "Stored bytes in one message of the broker at most.") var messageBytes = 256 * 1024

  func validate() throws {
    if let records, records < 1 { throw ValidationError("--records must be above 0, is \(records)") }
    if group != nil, records == nil {
      throw ValidationError("a group has no end: --group needs --records")
    }
  }

  func run() async throws {
    let report = try await bench.connection.withClient { client in
      if let group {
        let consumer = try await client.consumer(group: group, topics: [bench.topic], consumerConfiguration)
        var batches = consumer.batches.makeAsyncIterator()
        let report = try await read { try await batches.next() }
        await consumer.close()
        return report
      }
      let reader = try await client.reader(topic: bench.topic, from: .beginning, readerConfiguration)
      let report = try await read { try await reader.nextBatch() }
      await reader.close()
      return report
    }
    try bench.show(report)
  }

  private var readerConfiguration: ReaderConfiguration {
    var configuration = ReaderConfiguration()
    configuration.bufferBytes = bufferBytes
    configuration.maxMessageBytes = messageBytes
    configuration.stopsAtEnd = records == nil
    return configuration
  }

  private var consumerConfiguration: ConsumerConfiguration {
    var configuration = ConsumerConfiguration()
    configuration.bufferBytes = bufferBytes
    configuration.maxMessageBytes = messageBytes
    return configuration
  }

  private func read(_ next: () async throws -> RecordBatch?) async throws -> BenchReport {
    let latency = LatencyRecorder()
    let limit = records.map(Int64.init) ?? .max
    var (count, bytes, checksum) = (Int64(0), Int64(0), UInt64(0))
    var progress = Progress(total: records)
    defer { progress.finish() }
    var start = monotonicNow()
    // Records of the warm-up are read and not counted.
    var warmEnd: Int64? = bench.warmUp > 0 ? start + bench.warmUpNanoseconds : nil
    while count < limit {
      progress.update(Int(count))
      let asked = monotonicNow()
      if let end = warmEnd, asked >= end { (warmEnd, start, count, bytes) = (nil, asked, 0, 0) }
      guard let batch = try await next() else { break }
      if warmEnd == nil { latency.record(startedAt: asked, now: monotonicNow()) }
      try batch.forEachRecord { record in
        count += 1
        bytes += Int64(record.value?.count ?? 0)
        // One byte of each record is used, so that decoding cannot be left out.
        if let value = record.value, !value.isEmpty { checksum &+= UInt64(value[value.count / 2]) }
      }
    }
    if checksum == .max { Console.note("") }
    guard warmEnd == nil else {
      throw LocalFailure("everything was read during the warm-up; make --warm-up shorter or the topic longer")
    }
    return BenchReport(
      records: count, bytes: bytes, seconds: Double(monotonicNow() - start) / 1e9, latency: latency.summary)
  }
}
