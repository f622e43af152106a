import ArgumentParser
import SkeinClient
import SkeinCore

struct PluginEnable: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "enable", abstract: "Let a version be used again.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: ArgumentHelp(PluginName.help)) var plugin: String

  func run() async throws {
    let name = try PluginName.check(plugin)
    try await connection.withClient { try await $0.admin.setPluginEnabled(name, true) }.show(
      options, "enabled")
  }
}

struct PluginDisable: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disable", abstract: "Let nothing new use a version; who has it keeps it.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: ArgumentHelp(PluginName.help)) var plugin: String

  func run() async throws {
    let name = try PluginName.check(plugin)
    try await connection.withClient { try await $0.admin.setPluginEnabled(name, false) }.show(
      options, "disabled")
  }
}

struct PluginRemove: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Remove a version and its bytes; refused while something uses it.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: ArgumentHelp(PluginName.help)) var plugin: String

  func run() async throws {
    let name = try PluginName.check(plugin)
    try await connection.withClient { try await $0.admin.removePlugin(name) }
    try options.show(.object([("removed", .string(name))]), names: [name]) { "removed \(name.displayable)" }
  }
}

struct PluginRelease: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release", abstract: "End a version's quarantine and forget its strikes.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: ArgumentHelp(PluginName.help)) var plugin: String

  func run() async throws {
    let name = try PluginName.check(plugin)
    try await connection.withClient { try await $0.admin.releasePlugin(name) }.show(options, "released")
  }
}

struct PluginGrantCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "grant",
    abstract: "Say what a version may do beyond the default; replaces the grants before.",
    discussion: """
      in-process: it runs in the broker instead of a process of its own: faster, and
      a crash takes the broker with it. Only signed partitioners. network: it may
      open connections.
      """)
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: ArgumentHelp(PluginName.help)) var plugin: String
  @Argument(help: "in-process, network.", completion: .list(["in-process", "network"])) var grants: [String] =
    []
  @Flag(help: "Take all grants back.") var none = false

  func run() async throws {
    let name = try PluginName.check(plugin)
    guard none == grants.isEmpty else {
      throw UsageError("give the grants that it is to have (in-process, network), or --none")
    }
    let summary = try await connection.withClient { try await $0.admin.grantPlugin(name, grants) }
    let text = summary.grants.isEmpty ? "nothing" : summary.grants.joined(separator: ", ")
    try summary.show(options, "granted \(text.displayable) to")
  }
}

struct PluginTrust: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trust", abstract: "The keys whose packages are taken.",
    subcommands: [Add.self, List.self, Remove.self])

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Take what a key signs.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "The public key: a PEM file, Ed25519.", completion: .file()) var file: String
    @Option(help: "For people (default: the file's name).") var name: String?

    func run() async throws {
      let pem = try PluginFiles.text(file)
      let name = name ?? PluginFiles.stem(file)
      let key = try await connection.withClient { try await $0.admin.addPluginKey(pem, name: name) }
      try options.show(key.json, names: [key.id]) {
        "trusted \(key.id.displayable) (\(key.name.displayable))"
      }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the keys, the broker's own first.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions

    func run() async throws {
      let keys = try await connection.withClient { try await $0.admin.listPluginKeys() }
      try options.show(.array(keys.map(\.json)), names: keys.map(\.id)) {
        var table = Table(["KEY", "NAME", "TRUST", "ADDED BY"])
        for key in keys { table.add([key.id, key.name, key.trust, key.addedBy.isEmpty ? "-" : key.addedBy]) }
        return table.text
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take what a key signs no longer; what it signed is not loaded again.")
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: OutputOptions
    @Argument(help: "The key's id, 16 digits.") var key: String

    func run() async throws {
      try await connection.withClient { try await $0.admin.removePluginKey(key) }
      try options.show(.object([("removed", .string(key))]), names: [key]) { "removed \(key.displayable)" }
    }
  }
}

extension PluginTrustKey {
  var json: JSON {
    .object([
      ("key_id", .string(id)), ("name", .string(name)), ("trust", .string(trust)), ("added_ms", .int(added)),
      ("added_by", .string(addedBy)), ("pem", .string(pem)),
    ])
  }
}
