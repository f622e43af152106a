/// One version of one plug-in, or a built-in partitioner.
public struct PluginSummary: Sendable, Hashable {
  /// Reverse domain name; a built-in's is plain: `murmur2`.
  public var id: String
  /// Empty for built-ins.
  public var version: String
  /// `partitioner`, `offset-store`, `authenticator`.
  public var kinds: [String]
  /// `builtin`, `verified` (Skein's key), `trusted` (a key that an operator added), `dev` (not signed); empty: its
  /// key is trusted no longer.
  public var trust: String
  /// Where it runs: `broker` or `child`.
  public var placement: String
  /// `ready`, `disabled`, `quarantined`, `failed`; empty for one that was only verified.
  public var state: String
  /// Topics and listeners that use it now.
  public var uses: Int
  /// Of the installed file, hexadecimal; empty for built-ins.
  public var sha256: String
  /// `in-process`, `network`.
  public var grants: [String]
  /// Milliseconds since 1970-01-01 UTC; 0 for built-ins.
  public var installed: Int64

  /// `com.acme.sticky@1.2.0`; a built-in's plain name.
  public var reference: String { version.isEmpty ? id : "\(id)@\(version)" }
}

/// One version with what it did.
public struct PluginDescription: Sendable {
  public var plugin: PluginSummary
  /// The signed bytes, JSON; empty for built-ins and for a store that was altered.
  public var manifest: String
  public var publisher: String
  /// Of the key that signed it; empty: nobody did.
  public var keyID: String
  public var usedBy: [String]
  /// Since the broker started.
  public var calls: UInt64
  public var records: UInt64
  public var faults: UInt64
  public var restarts: Int
  /// In the last ten minutes.
  public var strikes: Int
  /// The newest, at most 20.
  public var recentFaults: [PluginIncident]
  /// Why it is not `ready`.
  public var problem: SkeinError?
  /// The child's; 0: none runs.
  public var processID: Int32
  public var nanosecondsPerRecord: UInt64
}

/// Something that a plug-in did wrong.
public struct PluginIncident: Sendable, Hashable {
  /// Milliseconds since 1970-01-01 UTC.
  public var at: Int64
  /// `crash`, `hang`, `deadline`, `out-of-range`, `malformed`, `memory`, `late-completion`.
  public var kind: String
  public var detail: String
  public var usedBy: String
}

/// What an install checked and did.
public struct PluginInstallation: Sendable, Hashable {
  public struct Check: Sendable, Hashable {
    public var name: String
    public var detail: String
  }

  public var plugin: PluginSummary
  /// In their order.
  public var checks: [Check]
  /// The same bytes were installed before; nothing was changed.
  public var wasInstalledBefore: Bool
}

/// A key whose signatures are accepted.
public struct PluginTrustKey: Sendable, Hashable {
  /// 16 hexadecimal digits.
  public var id: String
  public var name: String
  public var pem: String
  /// Milliseconds since 1970-01-01 UTC; 0 for the broker's own.
  public var added: Int64
  public var addedBy: String
  /// `verified` (came with the broker) or `trusted`.
  public var trust: String
}
