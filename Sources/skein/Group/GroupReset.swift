import ArgumentParser
import SkeinClient
import SkeinCore

struct GroupReset: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reset", abstract: "Set where a group without members goes on, forward or back.",
    discussion: """
      --dry-run shows what would be set, and sets nothing. Going back means that
      records are processed again; going forward, that they are skipped. A group with
      members is refused: stop them first.

        skein group reset billing --topic orders --to earliest --dry-run
        skein group reset billing --topic orders --to 2026-11-23T00:00:00Z
        skein group reset billing --topic orders --to -100
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @OptionGroup var name: GroupArgument
  @Option(name: .shortAndLong, help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
  @Option(name: .shortAndLong, help: "A partition; repeatable (default: all; an offset needs one).")
  var partition: [Int32] = []
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "earliest, latest, an offset, a time (2026-11-23T00:00:00Z, @MILLISECONDS, -15m), or +N or -N records from the commit.",
      valueName: "place"), completion: .list(["earliest", "latest"]))
  var to: String
  @Flag(help: "Only show what would be set.") var dryRun = false

  func run() async throws {
    let place = try ResetPlace.parse(to, partitions: partition)
    let changes = try await connection.withClient { client in
      try await client.admin.resetOffsets(
        group: name.group, topic: topic, partitions: partition, to: place, dryRun: dryRun)
    }
    let json = JSON.array(
      changes.map { change in
        .object([
          ("topic", .string(change.topic)), ("partition", .int(Int64(change.partition))),
          ("before", change.before.map { .int($0) } ?? .null), ("after", .int(change.after)),
          ("moved", .int(change.moved)), ("lag_records", .int(change.lag)), ("dry_run", .bool(dryRun)),
        ])
      })
    try options.show(json, names: changes.map { String($0.partition) }) {
      var table = Table(
        ["TOPIC", "PARTITION", "WAS", dryRun ? "WOULD BE" : "IS", "MOVED", "LAG"], right: [1, 2, 3, 4, 5])
      for change in changes {
        table.add([
          change.topic, String(change.partition), change.before.map(String.init) ?? "-", String(change.after),
          change.before == nil ? "-" : (change.moved > 0 ? "+" : "") + String(change.moved),
          String(change.lag),
        ])
      }
      return table.text
    }
    if dryRun { Console.note("skein: nothing was changed; without --dry-run it is set") }
  }
}

extension OffsetChange {
  /// Records that are skipped (above zero) or processed again (below).
  var moved: Int64 { before.map { after.subtractingReportingOverflow($0).partialValue } ?? 0 }
}

/// Where a group is to go on, as people write it.
enum ResetPlace {
  static func parse(_ text: String, partitions: [Int32]) throws -> OffsetPlace {
    switch text {
    case "earliest", "beginning", "start": return .earliest
    case "latest", "end": return .latest
    default: break
    }
    // `+5` and `-5` are records; `-5m` is an age; `5` is an offset.
    if let sign = text.first, sign == "+" || sign == "-", let count = Int64(text) { return .shift(count) }
    if let offset = Int64(text) {
      guard !partitions.isEmpty else {
        throw UsageError("--to \(offset) needs --partition: offsets differ between partitions")
      }
      return .offset(offset)
    }
    if let time = StartPlace.time(text) { return .timestamp(time) }
    throw UsageError(
      "--to \(text.displayable): give earliest, latest, an offset, a time like 2026-11-23T00:00:00Z, @MILLISECONDS since 1970, an age like -15m, or +N or -N records\(NearestWord.hint(for: text, in: ["earliest", "latest"]))"
    )
  }
}
