import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

struct ProduceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "produce", abstract: "Publish lines of input, one record each.",
    discussion: """
      Ends when the input ends and every record is acknowledged. Memory is bounded:
      reading waits for the broker. An input line ends with a newline, which is not
      part of the record. --format json takes {"key", "value", "headers",
      "timestamp_ms", "partition"} a line; bytes that are no text stand in base64
      under key_base64 and value_base64.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
  @Option(help: ArgumentHelp("Publish this instead of reading input; repeatable.", valueName: "text"))
  var value: [String] = []
  @Option(
    name: .shortAndLong, help: ArgumentHelp("The key of every record that brings none.", valueName: "text"))
  var key: String?
  @Option(
    help: ArgumentHelp(
      "What stands between key and value in a line (\\t is a tab); lines without it have no key.",
      valueName: "text"))
  var keySeparator: String?
  @Option(help: "value (also: text), key-value (a tab between them) or json.") var format = RecordLine.Format
    .value
  @Option(help: "text, hex or base64: how keys and values stand in the lines.") var encoding = TextEncoding
    .text
  @Option(help: ArgumentHelp("A value equal to this is a null.", valueName: "text")) var nullMarker: String?
  @Option(name: .shortAndLong, help: "Publish to this partition only.") var partition: Int32?
  @Flag(help: "With --format json: to the partition that each line names.") var keepPartitions = false
  @Option(
    name: [.customShort("H"), .long],
    help: ArgumentHelp("A header for every record; repeatable.", valueName: "name=value"))
  var header: [String] = []
  @Option(name: [.customShort("i"), .long], help: "Read this file instead of stdin.", completion: .file())
  var file: String?
  @Option(
    name: [.customShort("z"), .long],
    help: "none, gzip, lz4 or zstd (default: what the topic's compression.type says).")
  var compression: Compression?
  @Option(help: "default (the topic's own: durable), leader or all.") var acks = Acks.default
  @Option(help: ArgumentHelp("Wait at most this long for more records per batch.", valueName: "ms"))
  var lingerMs = 5

  enum Compression: String, ExpressibleByArgument, CaseIterable {
    case none, gzip, lz4, zstd
    var codec: Codec {
      switch self {
      case .none: .none
      case .gzip: .gzip
      case .lz4: .lz4
      case .zstd: .zstd
      }
    }
  }

  enum Acks: String, ExpressibleByArgument, CaseIterable {
    case `default`, leader, all
    var level: Acknowledgement {
      switch self {
      case .default: .topicDefault
      case .leader: .leader
      case .all: .all
      }
    }
  }

  func run() async throws {
    let line = try self.line()
    var configuration = ProducerConfiguration()
    configuration.compression = compression?.codec
    configuration.acknowledgement = acks.level
    configuration.linger = .milliseconds(lingerMs)
    let counts = DeliveryCounts()
    configuration.deliveryHandler = { counts.add($0) }
    let plan = configuration
    let wasSignalled: Bool
    do {
      wasSignalled = try await Signals.cancelling {
        try await connection.withClient { client in
          let producer = try await client.producer(plan)
          try await send(producer, line)
        }
      }
    } catch {
      // What did go in is worth knowing, above all after a bad line.
      if counts.totals.records > 0 {
        Console.note("skein: \(counts.totals.records) records were published before")
      }
      throw error
    }
    try report(counts.totals)
    if wasSignalled { throw ExitCode(Failure.failed) }
  }

  /// How lines are read, from the options.
  private func line() throws -> RecordLine {
    var line = RecordLine(format: format, encoding: encoding)
    let separator = keySeparator ?? (format == .keyValue ? "\\t" : nil)
    line.separator = separator.map { Array(RecordTemplate.unescaped($0).utf8) }
    guard line.separator?.isEmpty != true else { throw UsageError("--key-separator must not be empty") }
    guard value.isEmpty || file == nil else { throw UsageError("give --value or --file, not both") }
    guard format != .json || (keySeparator == nil && nullMarker == nil && encoding == .text) else {
      throw UsageError(
        "--format json has its own keys and nulls: leave --key-separator, --null-marker and --encoding out")
    }
    guard !keepPartitions || (format == .json && partition == nil) else {
      throw UsageError("--keep-partitions needs --format json, and no --partition")
    }
    line.key = key.map { Array($0.utf8) }
    line.nullMarker = nullMarker.map { Array($0.utf8) }
    line.partition = partition
    line.keepsPartition = keepPartitions
    for text in header {
      let (name, value) = try KeyValue.split(text, option: "--header")
      do { try line.headers.append(name: name, value: Array(value.utf8)) } catch {
        throw UsageError("--header \(text.displayable): \(error.fault.message)")
      }
    }
    return line
  }

  private func send(_ producer: Producer, _ line: RecordLine) async throws {
    let target = try await producer.topic(topic)
    var reading: (any Error)?
    do {
      if value.isEmpty {
        try await sendInput(target, line)
      } else {
        for text in value { try await put(Array(text.utf8), to: target, line) }
      }
    } catch { reading = error }
    // Also after a signal what was read is sent; a task of its own, because ours is cancelled then.
    do { try await Task { try await producer.close() }.value } catch { throw reading ?? error }
    if let reading { throw reading }
  }

  private func sendInput(_ target: ProducerTopic, _ line: RecordLine) async throws {
    var input = try LineReader(path: file)
    var progress = Progress(total: nil)
    defer { progress.finish() }
    while true {
      if input.lineNumber & 1023 == 0 { progress.update(input.lineNumber) }
      await input.waitForInput()
      if Task.isCancelled { return }
      // A line is copied, and parsed again, only when the buffer was full: rare.
      var held: [UInt8]?
      let number = input.lineNumber + 1
      do {
        let found = try input.next { bytes in
          if try append(bytes, to: target, line) == .bufferFull { held = Array(bytes) }
        }
        guard found else { return }
      } catch let error as LocalFailure {
        throw LocalFailure("\(file?.displayable ?? "stdin"):\(number): \(error)")
      }
      if let held { try await put(held, to: target, line) }
    }
  }

  /// Hands over a line, waiting while the buffer is full.
  private func put(_ bytes: [UInt8], to target: ProducerTopic, _ line: RecordLine) async throws {
    // One more byte gives an empty line an address.
    let padded = bytes + [0]
    while try padded.withUnsafeBytes({
      try append(UnsafeRawBufferPointer(rebasing: $0.dropLast()), to: target, line)
    }) == .bufferFull { await target.waitForSpace() }
  }

  private func append(
    _ bytes: UnsafeRawBufferPointer, to target: ProducerTopic, _ line: RecordLine
  ) throws -> ProducerTopic.AppendOutcome {
    try line.withRecord(bytes) { record in
      try target.tryAppend(
        key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp,
        partition: record.partition)
    }
  }

  private func report(_ totals: DeliveryCounts.Totals) throws {
    let partitions = totals.partitions.sorted { $0.key < $1.key }
    let json = JSON.object([
      ("topic", .string(topic)), ("records", .int(totals.records)), ("failed", .int(totals.failed)),
      (
        "partitions",
        .array(
          partitions.map { number, partition in
            .object([
              ("partition", .int(Int64(number))), ("records", .int(partition.records)),
              ("first_offset", partition.first.map { .int($0) } ?? .null),
              ("last_offset", partition.last.map { .int($0) } ?? .null),
            ])
          })
      ),
    ])
    guard options.output == .table else { return try options.show(json, names: [topic]) { "" } }
    // On stderr: stdout stays empty for pipes, and one record is found again by its offset.
    let place =
      totals.records == 1
      ? partitions.first.flatMap { number, partition in partition.first.map { " at \(number):\($0)" } } ?? ""
      : ""
    Console.note(
      "published \(totals.records) record\(totals.records == 1 ? "" : "s") to \(topic.displayable)\(place)")
  }
}
