import CSkeinPlugin

/// Why something was not done, as the host understands it. Throw it; any other error counts as `failed`, a
/// `CancellationError` as `cancelled`.
public struct PluginError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What the host does about it.
  public enum Kind: Int32, Sendable, Hashable {
    /// Not done, and trying again will not help.
    case failed = 1
    /// Given up because the host asked for it or the deadline passed.
    case cancelled = 2
    /// Not done now; nothing was changed.
    case retryLater = 3
    /// Authenticator: not this client. Offset store: refused by a fence.
    case denied = 4
    /// The configuration is of no use.
    case badConfig = 5
    /// The plug-in does not do this.
    case unsupported = 6
  }

  public var kind: Kind
  /// For the operator: what, why and the cure. Never a secret.
  public var message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  public static func failed(_ message: String) -> PluginError { PluginError(.failed, message) }
  public static func retryLater(_ message: String) -> PluginError { PluginError(.retryLater, message) }
  public static func denied(_ message: String) -> PluginError { PluginError(.denied, message) }
  public static func badConfig(_ message: String) -> PluginError { PluginError(.badConfig, message) }
  public static func unsupported(_ message: String) -> PluginError { PluginError(.unsupported, message) }

  public var description: String { "\(kind): \(message)" }

  /// Any error as one of ours.
  init(mapping error: any Error) {
    switch error {
    case let error as PluginError: self = error
    case is CancellationError: self = PluginError(.cancelled, "cancelled")
    default: self = .failed("\(error)")
    }
  }
}
