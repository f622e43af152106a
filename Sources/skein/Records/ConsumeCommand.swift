import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

struct ConsumeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "consume", abstract: "Print records.",
    discussion: """
      Without --follow it ends after what was there when it began. SIGINT ends it
      cleanly. Order holds within a partition. What --format json prints, `produce
      --format json` reads.

      With --group it reads as a member of a consumer group: the broker gives it
      partitions, and the group goes on where it has committed; --from says where
      partitions begin of which it has committed nothing. What was printed is
      committed about every second, and before it leaves. Without --follow it ends
      when it has read what was there when it got its partitions.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var form: RecordFormatOptions
  @Argument(help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "beginning, end, an offset, a time: 2026-11-23T00:00:00Z or @ and milliseconds since 1970, or an age: -15m.",
      valueName: "place"), completion: .list(["beginning", "end"]))
  var from = "beginning"
  @Option(name: [.customShort("n"), .long], help: "Stop after so many records.") var max: Int?
  @Flag(name: .shortAndLong, help: "Wait for more at the end.") var follow = false
  @Option(name: .shortAndLong, help: "Read this partition; repeatable (default: all).") var partition:
    [Int32] = []
  @Option(
    name: .shortAndLong, help: "Read as a member of this consumer group.",
    completion: .custom(DynamicNames.groups))
  var group: String?
  @Option(help: "With --group: auto commits what was printed, none nothing (default: auto).") var commit:
    GroupConsumption.Commit?

  func run() async throws {
    let start = try StartPlace.parse(from)
    let formatter = try form.formatter(standard: .value)
    if let max, max < 0 { throw UsageError("--max must not be negative, is \(max)") }
    let member = try membership(start, formatter)
    if max == 0 { return }
    if let member {
      _ = try await Signals.cancelling { try await connection.withClient { try await member.run($0) } }
      return
    }
    var configuration = ReaderConfiguration()
    configuration.stopsAtEnd = !follow
    let plan = configuration
    _ = try await Signals.cancelling {
      try await connection.withClient { client in
        let reader = try await client.reader(
          topic: topic, partitions: partition.isEmpty ? nil : partition, from: start, plan)
        do {
          try await printAll(reader, formatter)
        } catch {
          await reader.close()
          throw error
        }
        await reader.close()
      }
    }
  }

  private func membership(_ start: ReadStart, _ formatter: RecordFormatter) throws -> GroupConsumption? {
    guard let group else {
      guard commit == nil else { throw UsageError("--commit goes with --group") }
      return nil
    }
    guard partition.isEmpty else {
      throw UsageError("--partition does not go with --group: the broker gives out a group's partitions")
    }
    let begin: GroupStart
    switch start {
    case .beginning: begin = .earliest
    case .end: begin = .latest
    default:
      throw UsageError(
        "--from \(from.displayable): a group begins at `beginning` or `end`; `skein group reset` sets another place"
      )
    }
    return GroupConsumption(
      group: group, topic: topic, start: begin, commit: commit ?? .auto, max: max, follow: follow,
      formatter: formatter)
  }

  private func printAll(_ reader: Reader, _ formatter: RecordFormatter) async throws {
    var output = OutputBuffer()
    var left = max ?? .max
    // A terminal that shows the records needs no second line about them.
    var progress = Progress(total: max, isShown: !Console.isOutputTerminal)
    defer { progress.finish() }
    var count = 0
    do {
      while left > 0, let batch = try await reader.nextBatch() {
        try batch.forEachRecord { record in
          guard left > 0 else { return }
          left -= 1
          count += 1
          try formatter.write(record, of: batch, to: &output)
        }
        // What is here is shown; a pipe still gets large writes when there is much.
        try output.flush()
        progress.update(count)
      }
    } catch {
      try? output.flush()
      throw error
    }
  }
}
