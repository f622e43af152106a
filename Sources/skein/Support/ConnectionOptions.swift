import ArgumentParser
import Foundation
import SkeinClient
import SkeinCore

/// The options of every command that talks to a broker.
struct ConnectionOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Context file or name (else SKEIN_CONTEXT, else the chosen one).", valueName: "file"),
    completion: .custom(DynamicNames.contexts))
  var context: String?

  @Option(
    help: ArgumentHelp(
      "Another address than the context's; several separated by commas.", valueName: "host:port"))
  var address: String?

  @Option(
    help: ArgumentHelp(
      "File with a bearer token that says who calls, instead of the context's certificate (else SKEIN_TOKEN_FILE).",
      valueName: "file"), completion: .file())
  var tokenFile: String?

  @Option(help: ArgumentHelp("Seconds to keep trying to reach a broker.", valueName: "seconds"))
  var connectTimeout = 10

  @Option(help: ArgumentHelp("Seconds that one request may take.", valueName: "seconds"))
  var requestTimeout = 30

  @Flag(name: .long, help: "With errors, show code, outcome, metadata and causes.") var verbose = false

  mutating func validate() throws {
    guard (1...3600).contains(connectTimeout) else {
      throw ValidationError("--connect-timeout must be 1 to 3600 s, is \(connectTimeout)")
    }
    guard (1...3600).contains(requestTimeout) else {
      throw ValidationError("--request-timeout must be 1 to 3600 s, is \(requestTimeout)")
    }
    if verbose { setenv(Failure.verboseVariable, "1", 1) }
  }

  /// The context in force, with `--address` and `--token-file` in place of its own.
  func resolve() throws -> ContextFile {
    var file = try ContextStore().resolve(context)
    if let address { file.address = address }
    let environment = ProcessInfo.processInfo.environment["SKEIN_TOKEN_FILE"]
    if let path = tokenFile ?? environment, !path.isEmpty {
      file.tokenFile = URL(fileURLWithPath: path).path
      (file.certificate, file.key) = ("", "")
    }
    return file
  }

  func clientConfiguration() throws -> ClientConfiguration {
    var configuration = try resolve().clientConfiguration
    configuration.connectTimeout = .seconds(connectTimeout)
    configuration.unreachableTimeout = .seconds(connectTimeout)
    configuration.requestTimeout = .seconds(requestTimeout)
    return configuration
  }

  /// Runs `body` with a client, and closes it in every case.
  /// - Throws: what `body` throws; a missing topic with the name that was probably meant.
  func withClient<R: Sendable>(_ body: (Client) async throws -> R) async throws -> R {
    let client = try Client(try clientConfiguration())
    do {
      let result = try await body(client)
      await client.close()
      return result
    } catch {
      let explained = await explain(error, client)
      await client.close()
      throw explained
    }
  }

  /// A second question to the broker, only when a name was not found.
  private func explain(_ error: any Error, _ client: Client) async -> any Error {
    guard let error = error as? SkeinError else { return error }
    let missing: (name: String, names: [String], ifNone: String)
    switch error.reason {
    case Reason.topicNotFound.name:
      guard let topic = error.metadata["topic"], let names = try? await client.admin.listTopics() else {
        return error
      }
      missing = (
        topic, names.map(\.name),
        "There is no topic yet; `skein topic create \(topic.displayable)` makes it."
      )
    case Reason.groupNotFound.name:
      guard let group = error.metadata["group"], let names = try? await client.admin.listGroups() else {
        return error
      }
      missing = (group, names.map(\.name), "There is no group yet; its first member makes it.")
    case Reason.offsetStoreNotFound.name:
      guard let store = error.metadata["store"], let names = try? await client.admin.listOffsetStores() else {
        return error
      }
      missing = (store, names.map(\.name), "")
    default: return error
    }
    if missing.names.isEmpty { return HintedError(error: error, hint: missing.ifNone) }
    return NearestWord.find(missing.name, in: missing.names).map {
      HintedError(error: error, hint: "Did you mean `\($0.displayable)`?")
    } ?? error
  }
}

/// A refusal, and what was probably meant.
struct HintedError: Error {
  let error: SkeinError
  let hint: String
}

/// A topic as an argument, with completion through the context in force.
struct TopicArgument: ParsableArguments {
  @Argument(help: "The topic.", completion: .custom(DynamicNames.topics)) var topic: String
}
