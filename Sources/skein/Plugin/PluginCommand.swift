import ArgumentParser
import SkeinClient
import SkeinCore

struct PluginCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plugin", abstract: "Make, try, install and manage plug-ins.",
    discussion: """
      A package (.skeinplug) is signed with its author's key; a broker takes packages
      of keys that it was told to trust, and nothing else, unless plugins.allow-dev
      is on. Versions never change: they stand side by side.
      """,
    groupedSubcommands: [
      CommandGroup(
        name: "For authors:",
        subcommands: [
          PluginNew.self, PluginTestCommand.self, PluginKeygen.self, PluginPack.self, PluginVerify.self,
        ]),
      CommandGroup(
        name: "For operators:",
        subcommands: [
          PluginInstall.self, PluginList.self, PluginInfo.self, PluginTrust.self, PluginGrantCommand.self,
          PluginEnable.self, PluginDisable.self, PluginRemove.self, PluginRelease.self,
        ]),
    ],
    aliases: ["plugins"])
}

struct PluginList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List what is installed, built-ins first.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Option(help: "Only this kind.", completion: .list(["partitioner", "offset-store", "authenticator"]))
  var kind = ""

  func run() async throws {
    let plugins = try await connection.withClient { try await $0.admin.listPlugins(kind: kind) }
    try options.show(.array(plugins.map(\.json)), names: plugins.map(\.reference)) {
      PluginTable.text(plugins)
    }
  }
}

/// The table of versions. What nobody signed stands in red, and is named below for who sees no colours.
enum PluginTable {
  static func text(_ plugins: [PluginSummary], colour: Bool = Console.hasColour) -> String {
    var table = Table(["ID", "VERSION", "KIND", "TRUST", "WHERE", "STATE", "USES", "GRANTS"], right: [6])
    for plugin in plugins {
      table.add([
        plugin.id, plugin.version.isEmpty ? "-" : plugin.version, plugin.kinds.joined(separator: ","),
        plugin.trust.isEmpty ? "none" : plugin.trust, plugin.placement, plugin.state, String(plugin.uses),
        plugin.grants.isEmpty ? "-" : plugin.grants.joined(separator: ","),
      ])
    }
    var lines = table.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let unsigned = plugins.enumerated().filter { $0.element.isUnsigned }
    if colour {
      for (index, _) in unsigned where lines.indices.contains(index + 1) {
        lines[index + 1] = "\u{1b}[31m\(lines[index + 1])\u{1b}[0m"
      }
    }
    if !unsigned.isEmpty {
      lines.append("")
      lines.append(
        "dev: nobody signed \(unsigned.map(\.element.reference.displayable).joined(separator: ", "))")
    }
    return lines.joined(separator: "\n")
  }
}

extension PluginSummary {
  var isUnsigned: Bool { trust == "dev" }

  var json: JSON {
    .object([
      ("id", .string(id)), ("version", .string(version)), ("kinds", .array(kinds.map { .string($0) })),
      ("trust", .string(trust)), ("placement", .string(placement)), ("state", .string(state)),
      ("uses", .int(Int64(uses))), ("sha256", .string(sha256)),
      ("grants", .array(grants.map { .string($0) })), ("installed_ms", .int(installed)),
    ])
  }

  /// One line for a change that was made.
  func show(_ options: OutputOptions, _ what: String) throws {
    try options.show(json, names: [reference]) { "\(what) \(reference.displayable)" }
  }
}

/// `ID@VERSION` of the command line.
enum PluginName {
  static let help = "ID@VERSION, as in com.acme.sticky@1.2.0."

  static func check(_ text: String) throws -> String {
    guard text.contains("@") else {
      throw UsageError(
        "\(text.displayable): name the version too, as ID@VERSION; `skein plugin list` shows them")
    }
    return text
  }
}
