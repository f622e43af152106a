import ArgumentParser
import SkeinClient
import SkeinCore

/// `skein topic alter`, also `update`.
struct TopicAlter: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "alter", abstract: "Change settings of a topic while it is in use.",
    discussion: "Nothing is restarted. --dry-run checks everything and shows what would change.",
    aliases: ["update"])
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "Its name.", completion: .custom(DynamicNames.topics)) var name: String
  @Option(
    name: [.customShort("c"), .customLong("set")],
    help: ArgumentHelp("A setting, e.g. retention.ms=86400000; repeatable.", valueName: "key=value"))
  var set: [String] = []
  @Option(
    help: ArgumentHelp("A setting that goes back to the broker's default; repeatable.", valueName: "key"))
  var reset: [String] = []
  @Option(
    help: ArgumentHelp(
      "Change only if the topic is at this revision (`topic describe -o json`).", valueName: "number"))
  var ifRevision: Int64?
  @Flag(help: "Only show what would change.") var dryRun = false

  func run() async throws {
    let values = try KeyValue.parse(set, option: "--set")
    guard !values.isEmpty || !reset.isEmpty else {
      throw UsageError(
        "give --set key=value or --reset key; `skein topic describe \(name.displayable) --meanings` lists the settings"
      )
    }
    let (update, before) = try await connection.withClient { client in
      let before = try await client.admin.describeTopic(name).settings
      let update = try await client.admin.updateTopic(
        name, set: values, reset: reset, expectedRevision: ifRevision, validateOnly: dryRun)
      return (update, before)
    }
    let json = JSON.object([
      ("topic", .string(name)), ("revision", .int(update.topic.revision)), ("dry_run", .bool(dryRun)),
      ("changed", .array(update.changed.map { setting in setting.json(was: value(setting.name, before)) })),
    ])
    try options.show(json, names: update.changed.map(\.name)) {
      guard !update.changed.isEmpty else {
        return "nothing \(dryRun ? "would change" : "changed"): it is so already"
      }
      var table = Table(["SETTING", "WAS", dryRun ? "WOULD BE" : "IS", "FROM", "TAKES EFFECT"])
      for setting in update.changed {
        table.add([
          setting.name, value(setting.name, before) ?? "", setting.value, setting.source, setting.effect,
        ])
      }
      return table.text
    }
  }

  private func value(_ name: String, _ settings: [SettingDescription]) -> String? {
    settings.first { $0.name == name }?.value
  }
}

extension SettingDescription {
  func json(was: String?) -> JSON {
    .object([
      ("name", .string(name)), ("was", was.map { .string($0) } ?? .null), ("value", .string(value)),
      ("source", .string(source)), ("effect", .string(effect)),
    ])
  }
}

struct TopicAddPartitions: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add-partitions", abstract: "Give a topic more partitions. There is no way down.",
    discussion: """
      Keys move: a key's later records may land in another partition than its earlier
      ones, so that order holds within each only. Readers must read the new
      partitions too.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "Its name.", completion: .custom(DynamicNames.topics)) var name: String
  @Option(help: ArgumentHelp("Partitions all together, at most 10,000.", valueName: "count")) var to: Int32?
  @Option(
    name: [.customShort("n"), .customLong("num")],
    help: ArgumentHelp("Partitions more than now.", valueName: "count"))
  var more: Int32?
  @Flag(help: "Only check.") var dryRun = false

  func run() async throws {
    guard (to == nil) != (more == nil) else {
      throw UsageError("give --to COUNT or --num COUNT, one of them")
    }
    if let count = to ?? more, !TopicName.partitionRange.contains(count) {
      throw UsageError("\(to == nil ? "--num" : "--to") must be 1 to 10000, is \(count)")
    }
    let (before, after) = try await connection.withClient { client in
      let before = try await client.admin.topicSummary(name)
      // The revision makes `--num` safe against somebody else's change in between.
      let after = try await client.admin.addPartitions(
        name, upTo: to ?? before.partitionCount + (more ?? 0),
        expectedRevision: more == nil ? nil : before.revision,
        validateOnly: dryRun)
      return (before, after)
    }
    let json = JSON.object([
      ("topic", .string(name)), ("was", .int(Int64(before.partitionCount))),
      ("partitions", .int(Int64(after.partitionCount))), ("generation", .int(Int64(after.generation))),
      ("dry_run", .bool(dryRun)),
    ])
    try options.show(json, names: [name]) {
      "\(name.displayable) \(dryRun ? "would have" : "has") \(after.partitionCount) partitions (\(before.partitionCount) before), generation \(after.generation)"
    }
  }
}
