import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

/// The options of every command that talks to a broker.
struct ConnectionOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Context file or name (else SKEIN_CONTEXT, else the chosen one).", valueName: "file"))
  var context: String?

  @Option(
    help: ArgumentHelp("Seconds to keep trying to reach a broker.", valueName: "seconds"))
  var connectTimeout = 10

  /// Runs `body` with a client, and closes it in every case.
  func withClient<R: Sendable>(_ body: (Client) async throws -> R) async throws -> R {
    var configuration = try ContextStore().resolve(context).clientConfiguration
    guard (1...3600).contains(connectTimeout) else {
      throw UsageError("--connect-timeout must be 1 to 3600 s, is \(connectTimeout)")
    }
    configuration.connectTimeout = .seconds(connectTimeout)
    configuration.unreachableTimeout = .seconds(connectTimeout)
    let client = try Client(configuration)
    do {
      let result = try await body(client)
      await client.close()
      return result
    } catch {
      await client.close()
      throw error
    }
  }
}

/// `--output`, here or before the command.
struct OutputOptions: ParsableArguments {
  @Option(name: .customLong("output"), help: "table or json (default: table).")
  private var given: OutputFormat?

  var output: OutputFormat {
    given ?? ProcessInfo.processInfo.environment["SKEIN_OUTPUT"].flatMap(OutputFormat.init) ?? .table
  }

  mutating func validate() throws {
    let text = ProcessInfo.processInfo.environment["SKEIN_OUTPUT"] ?? "table"
    guard OutputFormat(rawValue: text) != nil else {
      throw ValidationError("--output \(text.displayable): give table or json")
    }
  }
}
