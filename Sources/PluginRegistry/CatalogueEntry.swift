package import PluginPackage

/// One installed version, as the catalogue knows it.
package struct CatalogueEntry: Sendable, Hashable {
  package var reference: PluginReference
  /// Of this platform's file; hexadecimal.
  package var sha256: String
  package var manifestSHA256: String
  /// Empty: not signed.
  package var keyID: String
  package var isEnabled: Bool
  package var grants: Set<PluginGrant>
  package var installedMilliseconds: Int64
  package var installedBy: String
  /// By the keys of today; nil: its key is trusted no longer, or unsigned ones are taken no longer.
  package var trust: TrustLevel?
}

/// A key whose signatures are accepted.
package struct TrustedKey: Sendable, Hashable {
  package var id: String
  package var name: String
  package var pem: String
  package var level: TrustLevel
  package var addedMilliseconds: Int64
  package var addedBy: String
}
