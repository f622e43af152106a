import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore
import Synchronization

struct ProduceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "produce", abstract: "Publish lines of input, one record each.",
    discussion: """
      Ends when the input ends and every record is acknowledged. Memory is bounded: reading waits
      for the broker. An input line ends with a newline, which is not part of the record.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "The topic.") var topic: String
  @Option(
    help: ArgumentHelp(
      "What stands between key and value in a line; lines without it have no key.", valueName: "text"))
  var keySeparator: String?
  @Option(help: "Publish to this partition only.") var partition: Int32?
  @Option(help: ArgumentHelp("A header for every record; repeatable.", valueName: "name=value"))
  var header: [String] = []
  @Option(help: "Read this file instead of stdin.") var file: String?
  @Option(help: "zstd, gzip or none.") var compression = Compression.none
  @Option(help: ArgumentHelp("Wait at most this long for more records per batch.", valueName: "ms"))
  var lingerMs = 5

  enum Compression: String, ExpressibleByArgument, CaseIterable {
    case none, gzip, zstd
    var codec: Codec {
      switch self {
      case .none: .none
      case .gzip: .gzip
      case .zstd: .zstd
      }
    }
  }

  func run() async throws {
    var configuration = ProducerConfiguration()
    configuration.compression = compression.codec
    configuration.linger = .milliseconds(lingerMs)
    let separator = keySeparator.map { Array($0.utf8) }
    guard separator?.isEmpty != true else { throw UsageError("--key-separator must not be empty") }
    var headers = RecordHeaders()
    for text in header {
      let (name, value) = try KeyValue.split(text, option: "--header")
      do { try headers.append(name: name, value: Array(value.utf8)) } catch {
        throw UsageError("--header \(text.displayable): \(error.fault.message)")
      }
    }
    let counts = Counts()
    configuration.deliveryHandler = { counts.add($0) }
    let (plan, extra) = (configuration, headers)
    let wasSignalled = try await Signals.cancelling {
      try await connection.withClient { client in
        let producer = try await client.producer(plan)
        try await send(producer, separator, extra)
      }
    }
    try report(counts.totals)
    if wasSignalled { throw ExitCode(Failure.failed) }
  }

  private func send(_ producer: Producer, _ separator: [UInt8]?, _ headers: RecordHeaders) async throws {
    let target = try await producer.topic(topic)
    var input = try LineReader(path: file)
    var reading: (any Error)?
    var progress = Progress(total: nil)
    defer { progress.finish() }
    do {
      while true {
        if input.lineNumber & 1023 == 0 { progress.update(input.lineNumber) }
        await input.waitForInput()
        if Task.isCancelled { break }
        // A line is parsed again when the buffer was full: rare, and nothing is copied for it.
        var isFull = false
        var line: [UInt8]?
        let found = try input.next { bytes in
          let outcome = try append(bytes, to: target, separator, headers)
          if outcome == .bufferFull {
            isFull = true
            line = Array(bytes)
          }
        }
        guard found else { break }
        while isFull, let held = line {
          await target.waitForSpace()
          try held.withUnsafeBytes { bytes in
            isFull = try append(bytes, to: target, separator, headers) == .bufferFull
          }
        }
      }
    } catch { reading = error }
    // Also after a signal what was read is sent; a task of its own, because ours is cancelled then.
    do { try await Task { try await producer.close() }.value } catch { throw reading ?? error }
    if let reading { throw reading }
  }

  private func append(
    _ line: UnsafeRawBufferPointer, to target: ProducerTopic, _ separator: [UInt8]?,
    _ headers: RecordHeaders
  ) throws -> ProducerTopic.AppendOutcome {
    let (key, value) = LineSplitter.split(line, separator)
    return try target.tryAppend(key: key, value: value, headers: headers, partition: partition)
  }

  private func report(_ totals: Counts.Totals) throws {
    switch options.output {
    case .json:
      try Console.print(
        JSON.object([
          ("topic", .string(topic)), ("records", .int(totals.records)), ("failed", .int(totals.failed)),
        ]).text)
    case .table: Console.note("published \(totals.records) records to \(topic.displayable)")
    }
  }

  /// What was acknowledged.
  final class Counts: Sendable {
    struct Totals {
      var records: Int64 = 0
      var failed: Int64 = 0
    }
    private let state = Mutex(Totals())
    var totals: Totals { state.withLock { $0 } }

    func add(_ delivery: BatchDelivery) {
      state.withLock { totals in
        switch delivery.result {
        case .success: totals.records += Int64(delivery.recordCount)
        case .failure: totals.failed += Int64(delivery.recordCount)
        }
      }
    }
  }
}

/// A line into key and value, at the first separator.
enum LineSplitter {
  static func split(
    _ line: UnsafeRawBufferPointer, _ separator: [UInt8]?
  ) -> (key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer) {
    guard let separator, let place = find(separator, in: line) else { return (nil, line) }
    return (
      UnsafeRawBufferPointer(rebasing: line[..<place]),
      UnsafeRawBufferPointer(rebasing: line[(place + separator.count)...])
    )
  }

  private static func find(_ needle: [UInt8], in line: UnsafeRawBufferPointer) -> Int? {
    guard let base = line.baseAddress, let first = needle.first else { return nil }
    var at = 0
    while line.count - at >= needle.count {
      guard let hit = memchr(base + at, Int32(first), line.count - at - needle.count + 1) else { return nil }
      at = UnsafeRawPointer(hit) - base
      if memcmp(base + at, needle, needle.count) == 0 { return at }
      at += 1
    }
    return nil
  }
}
