import Foundation
import SkeinClient

/// Names that only the cluster or the user's folder knows, for the shell's Tab key. Failures show
/// nothing: a completion must never print an error into the line that is being typed.
enum DynamicNames {
  typealias Completion = @Sendable ([String], Int, String) async -> [String]

  /// How long a Tab key may take.
  static let patience = Duration.seconds(2)

  /// Contexts by name.
  static let contexts: @Sendable ([String], Int, String) -> [String] = { _, _, _ in ContextStore().names }

  static let topics: Completion = { words, _, _ in await ask(words) { try await $0.listTopics().map(\.name) }
  }
  static let groups: Completion = { words, _, _ in await ask(words) { try await $0.listGroups().map(\.name) }
  }
  static let stores: Completion = { words, _, _ in
    await ask(words) { try await $0.listOffsetStores().map(\.name) }
  }

  /// Asks the cluster of the context in force, or of the `--context` that stands in the line.
  private static func ask(_ words: [String], _ question: (Admin) async throws -> [String]) async -> [String] {
    let given = words.firstIndex(of: "--context").flatMap {
      words.indices.contains($0 + 1) ? words[$0 + 1] : nil
    }
    guard var configuration = try? ContextStore().resolve(given).clientConfiguration else { return [] }
    configuration.connectTimeout = patience
    configuration.unreachableTimeout = patience
    configuration.requestTimeout = patience
    guard let client = try? Client(configuration) else { return [] }
    let names = try? await question(client.admin)
    await client.close()
    return names ?? []
  }
}
