import ArgumentParser
import SkeinClient
import SkeinCore

struct TopicAcceptLoss: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "accept-loss",
    abstract: "Give up what corrupt partitions have lost, so that they are served again.",
    discussion: """
      LOSES DATA FOR GOOD. Restore the files from a backup instead, where there is
      one. Without --i-accept-the-loss it shows what is damaged and changes nothing.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
  @Option(name: .shortAndLong, help: "A partition; repeatable (default: every one that is not served).")
  var partition: [Int32] = []
  @Flag(help: "Do it.") var iAcceptTheLoss = false

  func run() async throws {
    let results = try await connection.withClient { client in
      var targets = partition
      if targets.isEmpty {
        targets = try await client.admin.describeTopic(topic).partitions.filter { !$0.isOnline }.map(
          \.partition)
      }
      guard !targets.isEmpty else { return [LossResult]() }
      return try await client.admin.acceptLoss(topic, partitions: targets, dryRun: !iAcceptTheLoss)
    }
    try options.show(.array(results.map(json)), names: results.map { String($0.partition) }) {
      guard !results.isEmpty else {
        return "every partition of \(topic.displayable) is served: there is nothing to give up"
      }
      var table = Table(["PARTITION", "STATE", "START", "END", "SIZE BEFORE", "SIZE", "DAMAGE"])
      for result in results {
        table.add([
          String(result.partition), result.error?.reason ?? (result.isOnline ? "online" : "offline"),
          String(result.logStart), String(result.logEnd), Units.bytes(result.sizeBefore),
          Units.bytes(result.size),
          result.damage,
        ])
      }
      return table.text
    }
    if !iAcceptTheLoss, !results.isEmpty {
      Console.note("skein: nothing was changed; --i-accept-the-loss gives up what is damaged, for good")
    }
    if let error = results.compactMap(\.error).first { throw error }
  }

  private func json(_ result: LossResult) -> JSON {
    .object([
      ("partition", .int(Int64(result.partition))), ("damage", .string(result.damage)),
      ("online", .bool(result.isOnline)), ("log_start_offset", .int(result.logStart)),
      ("log_end_offset", .int(result.logEnd)), ("size_bytes_before", .int(result.sizeBefore)),
      ("size_bytes", .int(result.size)), ("dry_run", .bool(!iAcceptTheLoss)),
      ("error", result.error?.json ?? .null),
    ])
  }
}
