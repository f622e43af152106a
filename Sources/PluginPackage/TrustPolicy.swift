package import SkeinCore

/// Whose packages a broker takes. It alone decides whether a signature is needed; nothing in a package does, so that
/// taking a signature away gains nothing (the lesson of OPA's GHSA-g2pf-6v5v-qcc8).
package struct TrustPolicy: Sendable {
  package struct Key: Sendable, Hashable {
    package var pem: String
    /// `verified` or `trusted`.
    package var level: TrustLevel
    package init(pem: String, level: TrustLevel) {
      self.pem = pem
      self.level = level
    }
  }

  /// `plugins.allow-dev`: takes what nobody signed, as `dev`.
  package var allowDev: Bool
  /// By id.
  package var keys: [String: Key]

  package init(allowDev: Bool, keys: [String: Key] = [:]) {
    self.allowDev = allowDev
    self.keys = keys
  }

  /// The first two checks of the load order, over the manifest's bytes before anything of them is read.
  /// - Throws: `PLUGIN_REFUSED` (check: policy or signature).
  package func judge(_ package: PackageFile) throws(Fault) -> (level: TrustLevel, passed: [PassedCheck]) {
    guard let seal = package.seal else {
      guard allowDev else {
        throw Refusal.fault(
          .policy, file: "package",
          cause: "the package is not signed, and this broker takes signed packages only",
          cure:
            "Get the signed package from its author, or sign your own with `skein plugin pack --key` and add the key with `skein plugin trust add`"
        )
      }
      return (
        .dev,
        [PassedCheck(Refusal.Check.policy.rawValue, "not signed; taken because plugins.allow-dev is true")]
      )
    }
    guard let key = keys[seal.keyID] else {
      throw Refusal.fault(
        .policy, file: "package",
        cause: "the package is signed by the key \(seal.keyID), which this broker does not trust",
        cure:
          "If you trust its author, add the author's public key with `skein plugin trust add`; `skein plugin trust list` shows the keys"
      )
    }
    guard Signature.verify(package.manifest, signature: seal.signature, publicKeyPEM: key.pem) else {
      throw Refusal.fault(
        .signature, file: Manifest.fileName,
        cause:
          "\(Manifest.fileName) is not what the key \(seal.keyID) signed: it or its signature was altered",
        cure: "Fetch the package again, or ask its author")
    }
    return (
      key.level,
      [
        PassedCheck(
          Refusal.Check.policy.rawValue, "signed packages of the key \(seal.keyID) are \(key.level.rawValue)"),
        PassedCheck(
          Refusal.Check.signature.rawValue, "Ed25519 by \(seal.keyID) over \(package.manifest.count) bytes"),
      ]
    )
  }
}
