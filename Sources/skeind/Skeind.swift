import ArgumentParser
import Broker
import Foundation

/// Parses and runs. A wrong use ends with 2, as wrong settings do and as `skein` does it.
@main
enum Program {
  static func main() async {
    do {
      var command = try await Skeind.asyncParseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch {
      guard Skeind.exitCode(for: error) == .validationFailure else { Skeind.exit(withError: error) }
      Failure.exit(Skeind.message(for: error) + "; see skeind --help", code: 2)
    }
  }
}

/// The broker's program.
struct Skeind: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "skeind",
    abstract: "The Skein message broker.",
    discussion: """
      Runs one broker until SIGTERM or SIGINT, which drain it. Settings come from
      flags, then environment variables (SKEIN_DATA_DIRECTORY for data.directory),
      then the file of --config, then defaults; `skeind check-config` shows what is
      in force and where it came from.
      """,
    version: "skeind \(Broker.version)",
    subcommands: [Serve.self, CheckConfig.self],
    defaultSubcommand: Serve.self)
}

/// The flags that `serve` and `check-config` share.
struct SettingsOptions: ParsableArguments {
  @Option(help: "Settings file (YAML).")
  var config: String?

  @Option(
    help: ArgumentHelp(
      "Run for development from this folder: own CA, certificates and CLI context are made in it.",
      valueName: "dir"))
  var dev: String?

  @Option(help: ArgumentHelp("Address of gRPC over TLS; port 0 = any free one.", valueName: "host:port"))
  var listen: String?

  @Option(help: ArgumentHelp("Address of /healthz, /readyz and /metrics over HTTP.", valueName: "host:port"))
  var operations: String?

  @Option(
    help: ArgumentHelp("Any other setting, as in the file; may be repeated.", valueName: "key=value"))
  var set: [String] = []

  /// The flags as settings.
  func values() throws -> [String: String] {
    var values: [String: String] = [:]
    for text in set {
      guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
        throw ValidationError("--set \(text): write key=value")
      }
      values[String(text[..<equals])] = String(text[text.index(after: equals)...])
    }
    if let listen { values["listen"] = listen }
    if let operations { values["operations"] = operations }
    return values
  }
}
