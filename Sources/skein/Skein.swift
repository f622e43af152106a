import ArgumentParser
import Foundation
import PluginConformance

/// The command line. Each command prints its result on stdout (a table, or JSON alone) and everything
/// else on stderr.
struct Skein: AsyncParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "skein",
    abstract: "Publish to, read from and manage a Skein message bus.",
    discussion: """
      Address, certificates and tenant come from a context: --context NAME or FILE
      (before or after the command), else SKEIN_CONTEXT, else the one chosen by
      `skein context use`. `skeind --dev DIR` writes DIR/context.yaml. Results:
      --output table, json, yaml or name.

      Exit codes: 0 ok, 1 failed, 2 usage, 3 refused by access, 4 unreachable.
      """,
    version: "skein \(version)",
    groupedSubcommands: [
      CommandGroup(name: "Records:", subcommands: [ProduceCommand.self, ConsumeCommand.self]),
      CommandGroup(
        name: "Management:",
        subcommands: [
          TopicCommand.self, GroupCommand.self, PluginCommand.self, TokenCommand.self, ClusterCommand.self,
        ]),
      CommandGroup(name: "Measurement:", subcommands: [BenchCommand.self]),
      CommandGroup(
        name: "This program:",
        subcommands: [
          ContextCommand.self, DoctorCommand.self, ErrorsCommand.self, CompletionCommand.self,
          VersionCommand.self,
        ]),
    ])
}

/// `skein --context FILE --output json topic list`: what stands before the command is for all of them.
enum LeadingOptions {
  /// Takes leading `--context`, `--token-file`, `--output` (`-o`) and `--verbose` out and into the environment, where
  /// the commands' own options look when they are not given.
  static func take(_ arguments: [String], into set: (String, String) -> Void) -> [String] {
    let names = [
      "--context": "SKEIN_CONTEXT", "--token-file": "SKEIN_TOKEN_FILE", "--output": "SKEIN_OUTPUT",
      "-o": "SKEIN_OUTPUT",
    ]
    var rest = arguments[...]
    while let first = rest.first {
      let parts = first.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if first == "--verbose" {
        set(Failure.verboseVariable, "1")
        rest = rest.dropFirst()
        continue
      }
      guard let variable = names[String(parts[0])] else { break }
      if parts.count == 2 {
        set(variable, String(parts[1]))
        rest = rest.dropFirst()
      } else {
        guard rest.count > 1 else { break }
        set(variable, rest[rest.index(after: rest.startIndex)])
        rest = rest.dropFirst(2)
      }
    }
    return Array(rest)
  }
}

/// Parses, runs, and turns every ending into one exit code.
@main
enum Program {
  static func main() async {
    // A child of `skein plugin test` runs one check and ends.
    ConformanceChild.enterIfAsked()
    Signals.ignoreBrokenPipe()
    do {
      let arguments = LeadingOptions.take(Array(CommandLine.arguments.dropFirst())) {
        setenv($0, $1, 1)
      }
      try CommandWords.check(arguments)
      var command = try await Skein.asyncParseAsRoot(arguments)
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch {
      exit(Failure.report(error))
    }
  }
}
