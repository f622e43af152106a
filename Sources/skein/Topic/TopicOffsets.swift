import ArgumentParser
import SkeinClient
import SkeinCore

struct TopicOffsets: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "offsets", abstract: "Show where partitions begin and end, or where a time lies in them.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "A time: 2026-11-23T00:00:00Z, @ and milliseconds since 1970, or an age: -15m; shows the first record at or after it.",
      valueName: "time"))
  var at: String?
  @Option(name: .shortAndLong, help: "Only this partition; repeatable.") var partition: [Int32] = []

  func run() async throws {
    let time = try at.map { text -> Int64 in
      guard let time = StartPlace.time(text) else {
        throw UsageError(
          "--at \(text.displayable): give a time like 2026-11-23T00:00:00Z, or @MILLISECONDS since 1970")
      }
      return time
    }
    let rows = try await connection.withClient { client in
      let admin = client.admin
      var rows = try await admin.listOffsets(topic, partitions: partition, at: .beginning).map(Row.init)
      try Row.merge(try await admin.listOffsets(topic, partitions: partition, at: .end), into: &rows) {
        $0.end = $1
      }
      if let time {
        try Row.merge(
          try await admin.listOffsets(topic, partitions: partition, at: .timestamp(time)), into: &rows
        ) { $0.at = $1 }
      }
      return rows
    }
    try options.show(
      .array(rows.map { $0.json(withTime: at != nil) }), names: rows.map { String($0.start.partition) }
    ) {
      var table = Table(
        ["PARTITION", "START", "END", "RECORDS"] + (at == nil ? [] : ["AT", "TIMESTAMP"]) + ["STATE"],
        right: [0, 1, 2, 3])
      for row in rows { table.add(row.cells(withTime: at != nil)) }
      return table.text
    }
    if let error = rows.compactMap(\.error).first { throw error }
  }

  /// One partition's answers.
  private struct Row {
    let start: PartitionOffset
    var end: PartitionOffset?
    var at: PartitionOffset?

    init(_ start: PartitionOffset) { self.start = start }

    var error: SkeinError? { start.error ?? end?.error ?? at?.error }

    static func merge(
      _ answers: [PartitionOffset], into rows: inout [Row], _ set: (inout Row, PartitionOffset) -> Void
    ) throws {
      for answer in answers {
        guard let index = rows.firstIndex(where: { $0.start.partition == answer.partition }) else { continue }
        set(&rows[index], answer)
      }
    }

    func json(withTime: Bool) -> JSON {
      var fields: [(String, JSON)] = [
        ("partition", .int(Int64(start.partition))), ("log_start_offset", .int(start.offset)),
        ("high_watermark", end.map { .int($0.offset) } ?? .null),
      ]
      if withTime {
        fields += [
          ("offset", at.map { .int($0.offset) } ?? .null),
          ("timestamp_ms", at?.timestamp.map { .int($0) } ?? .null),
        ]
      }
      return .object(fields + [("error", error?.json ?? .null)])
    }

    func cells(withTime: Bool) -> [String] {
      let end = end?.offset ?? start.offset
      return [String(start.partition), String(start.offset), String(end), String(max(0, end - start.offset))]
        + (withTime
          ? [at.map { String($0.offset) } ?? "-", at?.timestamp.map(Units.time) ?? "after the last record"]
          : [])
        + [error?.reason ?? "ok"]
    }
  }
}
