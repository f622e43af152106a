import ArgumentParser
import Foundation
import PluginPackage
import SkeinClient
import SkeinCore

struct PluginInstall: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "install", abstract: "Send a package to the broker, which checks, tries and stores it.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "The .skeinplug.", completion: .file()) var file: String
  @Flag(help: "Check and try it, and install nothing.") var verifyOnly = false

  func run() async throws {
    // What is no package is told at once, without sending it.
    let (bytes, _) = try PluginFiles.package(file)
    let installed = try await connection.withClient {
      try await $0.admin.installPlugin(bytes, sha256: Digest.hexadecimal(bytes), verifyOnly: verifyOnly)
    }
    let plugin = installed.plugin
    if plugin.isUnsigned {
      Console.note("skein: nobody signed \(plugin.reference.displayable) (dev); it is for trying only")
    }
    let json = JSON.object([
      ("plugin", plugin.json), ("was_installed_before", .bool(installed.wasInstalledBefore)),
      ("installed", .bool(!verifyOnly)),
      (
        "checks",
        .array(
          installed.checks.map { .object([("name", .string($0.name)), ("detail", .string($0.detail))]) })
      ),
    ])
    try options.show(json, names: [plugin.reference]) {
      let what =
        verifyOnly ? "verified" : installed.wasInstalledBefore ? "was installed before:" : "installed"
      return
        "\(what) \(plugin.reference.displayable) (\(plugin.trust.displayable))\n"
        + Self.lines(installed.checks.map { ($0.name, $0.detail) })
    }
  }

  /// The checks, one a line.
  static func lines(_ checks: [(name: String, detail: String)]) -> String {
    var table = Table(["CHECK", "SEEN"])
    for check in checks { table.add([check.name, check.detail]) }
    return table.text
  }
}

struct PluginInfo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Show a package, or an installed version with what it did.",
    discussion: "With a file nothing is verified: `skein plugin verify` does that.")
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var options: OutputOptions
  @Argument(help: "A .skeinplug, ID@VERSION, or the name of a built-in.", completion: .file()) var plugin:
    String

  func run() async throws {
    if FileManager.default.fileExists(atPath: plugin) { return try showFile() }
    if plugin.hasSuffix(".skeinplug") { _ = try PluginFiles.package(plugin) }
    let description = try await connection.withClient { try await $0.admin.describePlugin(plugin) }
    try options.show(description.json, names: [description.plugin.reference]) { description.text }
  }

  private func showFile() throws {
    let (bytes, file) = try PluginFiles.package(plugin)
    let manifest = try PluginFiles.told { () throws(Fault) in try Manifest(parsing: file.manifest) }
    let json = JSON.object([
      ("id", .string(manifest.reference.id)), ("version", .string(manifest.reference.version)),
      ("publisher", .string(manifest.publisher)), ("key_id", file.seal.map { .string($0.keyID) } ?? .null),
      ("sha256", .string(Digest.hexadecimal(bytes))), ("size", .int(Int64(bytes.count))),
      ("manifest", .string(String(decoding: file.manifest, as: UTF8.self))),
    ])
    try options.show(json, names: [manifest.reference.description]) {
      var table = Table(["FIELD", "VALUE"])
      table.add(["plugin", manifest.reference.description])
      table.add(["kinds", manifest.kinds.map(\.word).joined(separator: ", ")])
      table.add(["publisher", manifest.publisher])
      table.add(["signed by", file.seal.map { "\($0.keyID) (not verified)" } ?? "nobody"])
      table.add(["files", manifest.artifacts.map(\.platform).joined(separator: ", ")])
      table.add(["runtime", manifest.runtime])
      table.add(["requires", manifest.requires.isEmpty ? "-" : manifest.requires.joined(separator: ", ")])
      table.add(["configuration", manifest.configSchema == nil ? "none" : "see the manifest (--output json)"])
      table.add(["built from", manifest.builtFrom.isEmpty ? "-" : manifest.builtFrom])
      return table.text
    }
  }
}

extension PluginDescription {
  var json: JSON {
    .object([
      ("plugin", plugin.json), ("publisher", .string(publisher)), ("key_id", .string(keyID)),
      ("used_by", .array(usedBy.map { .string($0) })), ("calls", .int(Int64(clamping: calls))),
      ("records", .int(Int64(clamping: records))), ("faults", .int(Int64(clamping: faults))),
      ("restarts", .int(Int64(restarts))), ("strikes", .int(Int64(strikes))),
      ("process_id", .int(Int64(processID))),
      ("nanoseconds_per_record", .int(Int64(clamping: nanosecondsPerRecord))),
      (
        "recent_faults",
        .array(
          recentFaults.map {
            .object([
              ("at_ms", .int($0.at)), ("kind", .string($0.kind)), ("detail", .string($0.detail)),
              ("used_by", .string($0.usedBy)),
            ])
          })
      ),
      ("problem", problem?.json ?? .null), ("manifest", .string(manifest)),
    ])
  }

  var text: String {
    var table = Table(["FIELD", "VALUE"])
    let trust = plugin.trust.isEmpty ? "none: its key is not trusted" : plugin.trust
    table.add(["plugin", plugin.reference])
    table.add(["kinds", plugin.kinds.joined(separator: ", ")])
    table.add(["state", plugin.state])
    table.add(["trust", plugin.isUnsigned ? "dev (nobody signed it)" : trust])
    table.add(["publisher", publisher.isEmpty ? "-" : publisher])
    table.add(["signed by", keyID.isEmpty ? "-" : keyID])
    table.add(["runs in", processID == 0 ? plugin.placement : "\(plugin.placement), process \(processID)"])
    table.add(["grants", plugin.grants.isEmpty ? "-" : plugin.grants.joined(separator: ", ")])
    table.add(["used by", usedBy.isEmpty ? "-" : usedBy.joined(separator: ", ")])
    table.add(["calls", "\(calls), \(records) records, \(nanosecondsPerRecord) ns a record"])
    table.add(["faults", "\(faults), \(restarts) restarts, \(strikes) strikes in 10 min"])
    table.add(["sha256", plugin.sha256.isEmpty ? "-" : plugin.sha256])
    var parts = [table.text]
    if !recentFaults.isEmpty {
      var faults = Table(["AT", "FAULT", "USED BY", "DETAIL"])
      for fault in recentFaults {
        faults.add([Units.time(fault.at), fault.kind, fault.usedBy, fault.detail])
      }
      parts.append(faults.text)
    }
    if let problem { parts.append("\(plugin.state): \(Failure.escaped(problem.message))") }
    return parts.joined(separator: "\n\n")
  }
}
