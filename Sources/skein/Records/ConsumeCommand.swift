import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

struct ConsumeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "consume", abstract: "Print records.",
    discussion: """
      Without --follow it ends after what was there when it began. SIGINT ends it cleanly.
      """)
  @OptionGroup var connection: ConnectionOptions
  @Argument(help: "The topic.") var topic: String
  @Option(
    help: ArgumentHelp(
      "beginning, end, an offset, or a time: 2026-11-23T00:00:00Z, or @ and milliseconds since 1970.",
      valueName: "place"))
  var from = "beginning"
  @Option(help: "Stop after so many records.") var max: Int?
  @Flag(help: "Wait for more at the end.") var follow = false
  @Option(help: "value, key-value or json.") var format = RecordFormatter.Style.value
  @Option(help: "Read this partition; repeatable (default: all).") var partition: [Int32] = []

  func run() async throws {
    let start = try StartPlace.parse(from)
    if let max, max < 0 { throw UsageError("--max must not be negative, is \(max)") }
    if max == 0 { return }
    var configuration = ReaderConfiguration()
    configuration.stopsAtEnd = !follow
    let plan = configuration
    _ = try await Signals.cancelling {
      try await connection.withClient { client in
        let reader = try await client.reader(
          topic: topic, partitions: partition.isEmpty ? nil : partition, from: start, plan)
        do {
          try await printAll(reader)
        } catch {
          await reader.close()
          throw error
        }
        await reader.close()
      }
    }
  }

  private func printAll(_ reader: Reader) async throws {
    var output = OutputBuffer()
    var left = max ?? .max
    do {
      while left > 0, let batch = try await reader.nextBatch() {
        try batch.forEachRecord { record in
          guard left > 0 else { return }
          left -= 1
          try format.write(record, of: batch, to: &output)
        }
        // What is here is shown; a pipe still gets large writes when there is much.
        try output.flush()
      }
    } catch {
      try? output.flush()
      throw error
    }
  }
}

/// `--from`.
enum StartPlace {
  static func parse(_ text: String) throws -> ReadStart {
    switch text {
    case "beginning": return .beginning
    case "end": return .end
    default: break
    }
    if let offset = Int64(text), offset >= 0 { return .offset(offset) }
    if text.hasPrefix("@"), let time = Int64(text.dropFirst()), time >= 0 { return .timestamp(time) }
    let plain = ISO8601DateFormatter()
    let fractions = ISO8601DateFormatter()
    fractions.formatOptions.insert(.withFractionalSeconds)
    if let date = plain.date(from: text) ?? fractions.date(from: text) {
      return .timestamp(Int64((date.timeIntervalSince1970 * 1000).rounded()))
    }
    throw UsageError(
      "--from \(text.displayable): give beginning, end, an offset, a time like 2026-11-23T00:00:00Z, or @MILLISECONDS"
    )
  }
}
