/// Where consumer groups keep their offsets. A final class or an actor; the methods are called concurrently, each in a
/// task that is cancelled when the host gives up.
///
/// A commit is all or nothing, and one whose `memberEpoch` is older than a stored one's is refused with
/// `PluginError.denied`: so a member that was thought dead cannot undo its successor's work.
public protocol OffsetStore: Sendable {
  init(_ context: PluginContext) throws
  func commit(_ request: CommitOffsets, _ call: PluginCall) async throws
  func fetch(_ request: FetchOffsets, _ call: PluginCall) async throws -> OffsetPage
  func scan(_ request: ScanOffsets, _ call: PluginCall) async throws -> OffsetPage
  func remove(_ request: RemoveOffsets, _ call: PluginCall) async throws
}

extension Plugin.Kind {
  public static func offsetStore<S: OffsetStore>(_ type: S.Type) -> Plugin.Kind {
    offsetStore { try S($0) }
  }
}
