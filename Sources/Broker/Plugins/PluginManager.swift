import PluginHost
import PluginPackage
import SkeinCore
import Synchronization

/// The broker's plug-ins: which are installed, and their instances. What topics and listeners ask.
///
/// Threading: any task.
final class PluginManager: Sendable {
  /// Who uses a plug-in now: "topic orders", "listener 127.0.0.1:7602".
  typealias Users = @Sendable (PluginReference) -> [String]
  private struct State: Sendable { var users: [Users] = [] }
  private let state = Mutex(State())

  init() {}

  /// A partitioner of the installed version `ID@VERSION` with this configuration.
  /// - Parameter usedBy: for people, as in `Users`.
  /// - Throws: `INVALID_REQUEST`, `PLUGIN_NOT_FOUND`, `PLUGIN_DISABLED`, `PLUGIN_WRONG_KIND`, `PLUGIN_CONFIG_INVALID`,
  ///   `PLUGIN_QUARANTINED`, `PLUGIN_REFUSED` (altered since it was installed), `PLUGIN_FAULT`.
  func partitioner(
    _ id: String, config: String, usedBy: String
  ) async throws(Fault) -> any PartitionerInstance {
    throw Self.notFound(try PluginReference(parsing: id))
  }

  /// An authenticator; as `partitioner`.
  func authenticator(
    _ id: String, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance {
    throw Self.notFound(try PluginReference(parsing: id))
  }

  /// What the author says of an installed version: which headers a partitioner looks at, whether it is pure.
  /// - Throws: `INVALID_REQUEST`, `PLUGIN_NOT_FOUND`, `PLUGIN_REFUSED`.
  func manifest(_ id: String) async throws(Fault) -> Manifest {
    throw Self.notFound(try PluginReference(parsing: id))
  }

  /// Adds someone who knows of uses; a plug-in in use cannot be removed. Called while the broker starts.
  func addUsers(_ users: @escaping Users) { state.withLock { $0.users.append(users) } }

  /// Who uses it now.
  func uses(of reference: PluginReference) -> [String] {
    state.withLock { $0.users }.flatMap { $0(reference) }
  }

  private static func notFound(_ reference: PluginReference) -> Fault {
    Fault(
      .pluginNotFound,
      "\(reference) is not installed; `skein plugin list` shows what is, `skein plugin install` adds it",
      metadata: ["plugin": reference.description])
  }
}
