/// One version of one plug-in: `com.acme.sticky@1.2.0`.
///
/// Id: a reverse domain name, 3 to 100 of a-z 0-9 . - with at least one dot, so that it is never the name of a
/// built-in. Version: semantic, `MAJOR.MINOR.PATCH` with an optional `-suffix`, at most 40 characters.
package struct PluginReference: Sendable, Hashable, Comparable, CustomStringConvertible {
  package let id: String
  package let version: String

  /// What was checked before: use `init(parsing:)` for text from outside.
  init(checkedID id: String, version: String) {
    self.id = id
    self.version = version
  }

  package var description: String { "\(id)@\(version)" }

  package static func < (a: PluginReference, b: PluginReference) -> Bool {
    a.id == b.id ? a.version < b.version : a.id < b.id
  }
}

/// What a plug-in can be; the raw value is the ABI's id, with its major version.
package enum PluginKind: String, Sendable, Hashable, CaseIterable {
  case partitioner = "skein.partitioner/1"
  case offsetStore = "skein.offset-store/1"
  case authenticator = "skein.authenticator/1"

  /// As people write it: `partitioner`, `offset-store`, `authenticator`.
  package var word: String {
    switch self {
    case .partitioner: "partitioner"
    case .offsetStore: "offset-store"
    case .authenticator: "authenticator"
    }
  }
}

/// Whose word an artifact stands on; the greater, the more may be granted to it.
package enum TrustLevel: String, Sendable, Hashable {
  case builtin
  /// Signed by Skein's own key.
  case verified
  /// Signed by a key that an operator added.
  case trusted
  /// Not signed; only where `plugins.allow-dev` is on.
  case dev
}

/// What an operator lets a plug-in do beyond the default.
package enum PluginGrant: String, Sendable, Hashable, CaseIterable {
  case inProcess = "in-process"
  case network
}
