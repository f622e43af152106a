import ArgumentParser
import SkeinClient
import SkeinCore

struct GroupCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "group",
    abstract: "Consumer groups: who reads what, how far behind, and where they go on.",
    discussion: """
      A group begins with its first member (`skein consume TOPIC --group G`, or the
      SDK's Consumer) or its first committed offset. What is committed is the offset
      of the record to process next.
      """,
    subcommands: [
      GroupList.self, GroupDescribe.self, GroupReset.self, GroupDelete.self, GroupMoveOffsets.self,
      GroupStores.self, GroupChooseStore.self,
    ],
    aliases: ["groups"])
}

struct GroupList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the groups.", aliases: ["ls"])
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "Only names like this, with * and ?, e.g. 'billing-*'.") var pattern: String?

  func run() async throws {
    let groups = try await connection.withClient { client in
      try await client.admin.listGroups(prefix: Glob.literalPrefix(pattern ?? ""))
    }.filter { group in pattern.map { Glob.matches(group.name, $0) } ?? true }
    try options.show(.array(groups.map { .object($0.fields) }), names: groups.map(\.name)) {
      var table = Table(["GROUP", "STATE", "MEMBERS", "EPOCH", "OFFSETS IN"], right: [2, 3])
      for group in groups {
        table.add([
          group.name, group.state.rawValue, String(group.memberCount), String(group.epoch), group.offsetStore,
        ])
      }
      return table.text
    }
  }
}

struct GroupDelete: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Delete groups without members and their offsets, for good.",
    discussion: "With --topic only the offsets of that topic go, and the group stays.", aliases: ["rm"])
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "Their names.", completion: .custom(DynamicNames.groups)) var group: [String]
  @Option(
    name: .shortAndLong, help: "Only its offsets of this topic, also of one that is gone.",
    completion: .custom(DynamicNames.topics)) var topic: String?
  @Flag(help: "Succeed for groups that do not exist.") var ifExists = false

  func run() async throws {
    // One after the other: what was deleted is said even when a later one fails.
    for name in group {
      let offsets = try await connection.withClient { client in
        try await nilIf(ifExists ? .groupNotFound : nil) {
          try await client.admin.deleteGroup(name, topic: topic)
        }
      }
      let json = JSON.object([
        ("deleted", .string(name)), ("existed", .bool(offsets != nil)), ("offsets", .int(offsets ?? 0)),
        ("topic", topic.map { .string($0) } ?? .null),
      ])
      try options.show(json, names: offsets == nil ? [] : [name]) {
        guard let offsets else { return "absent: \(name.displayable)" }
        let what = topic.map { "\($0.displayable) of \(name.displayable)" } ?? name.displayable
        return "deleted \(what): \(offsets) committed offsets"
      }
    }
  }
}

/// A group as an argument, with completion through the context in force.
struct GroupArgument: ParsableArguments {
  @Argument(help: "The group.", completion: .custom(DynamicNames.groups)) var group: String
}
