package import SkeinCore

/// A plug-in's file that passed every check that can be made without running it, and the bytes that were checked: what
/// is loaded is these bytes, never a path.
///
/// Made by `PluginRegistry` and by `skein plugin test` only.
package struct VerifiedArtifact: Sendable {
  package let manifest: Manifest
  /// sha256 of `bytes`, hexadecimal.
  package let sha256: String
  package let bytes: SharedBytes
  package let trust: TrustLevel
  package let grants: Set<PluginGrant>

  package init(
    manifest: Manifest, sha256: String, bytes: SharedBytes, trust: TrustLevel, grants: Set<PluginGrant>
  ) {
    self.manifest = manifest
    self.sha256 = sha256
    self.bytes = bytes
    self.trust = trust
    self.grants = grants
  }
}
