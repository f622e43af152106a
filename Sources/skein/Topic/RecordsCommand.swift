import ArgumentParser
import SkeinClient
import SkeinCore

struct RecordsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "records", abstract: "Delete records from the front of partitions.",
    subcommands: [Delete.self])

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make records before an offset unreadable. Not undoable.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "The topic.") var topic: String
    @Option(help: "A partition; repeatable (default: all, with --before end).") var partition: [Int32] = []
    @Option(help: ArgumentHelp("The new first offset, or `end` for everything.", valueName: "offset|end"))
    var before: String

    func run() async throws {
      let offset: Int64?
      if before == "end" {
        offset = nil
      } else {
        guard let number = Int64(before), number >= 0 else {
          throw UsageError("--before \(before.displayable): give an offset or `end`")
        }
        guard !partition.isEmpty else {
          throw UsageError("--before \(number) needs --partition: offsets differ between partitions")
        }
        offset = number
      }
      let results = try await connection.withClient { client in
        var targets = partition
        if targets.isEmpty {
          targets = try await client.admin.describeTopic(topic).partitions.map(\.partition)
        }
        var before: [Int32: Int64?] = [:]
        for target in targets { before.updateValue(offset, forKey: target) }
        return try await client.admin.deleteRecords(topic, before: before)
      }
      switch options.output {
      case .json:
        try Console.print(
          JSON.array(
            results.map { result in
              .object([
                ("partition", .int(Int64(result.partition))), ("log_start_offset", .int(result.offset)),
                ("error", result.error?.json ?? .null),
              ])
            }
          ).text)
      case .table:
        var table = Table(["PARTITION", "START", "STATE"])
        for result in results {
          table.add([String(result.partition), String(result.offset), result.error?.reason ?? "ok"])
        }
        try Console.print(table.text)
      }
      if let error = results.compactMap(\.error).first { throw error }
    }
  }
}
