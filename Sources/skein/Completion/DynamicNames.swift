import Foundation
import SkeinClient

/// Names that only the cluster or the user's folder knows, for the shell's Tab key. Failures show
/// nothing: a completion must never print an error into the line that is being typed.
enum DynamicNames {
  /// How long a Tab key may take.
  static let patience = Duration.seconds(2)

  /// Contexts by name.
  static let contexts: @Sendable ([String], Int, String) -> [String] = { _, _, _ in ContextStore().names }

  /// Topics of the context in force, or of the `--context` that stands in the line.
  static let topics: @Sendable ([String], Int, String) async -> [String] = { words, _, _ in
    let given = words.firstIndex(of: "--context").flatMap {
      words.indices.contains($0 + 1) ? words[$0 + 1] : nil
    }
    guard var configuration = try? ContextStore().resolve(given).clientConfiguration else { return [] }
    configuration.connectTimeout = patience
    configuration.unreachableTimeout = patience
    configuration.requestTimeout = patience
    guard let client = try? Client(configuration) else { return [] }
    let names = try? await client.admin.listTopics().map(\.name)
    await client.close()
    return names ?? []
  }
}
