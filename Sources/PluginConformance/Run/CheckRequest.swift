package import Foundation

/// What the parent tells a child, as JSON on descriptor 4.
package struct CheckRequest: Codable, Sendable {
  package var check: String
  /// Which of the check's children this is, from 0.
  package var process = 0
  package var seed: UInt64
  package var fuzzSeconds: Double
  /// The instance's configuration, a JSON object.
  package var config: String
  /// The manifest as it stands in its file.
  package var manifest: Data
  /// Authenticators: what a client that must be let in says.
  package var credential: Credential?

  package struct Credential: Codable, Sendable {
    package var mechanism: String
    package var message: Data
    package init(mechanism: String, message: Data) {
      self.mechanism = mechanism
      self.message = message
    }
  }

  package init(
    check: String, seed: UInt64, fuzzSeconds: Double, config: String, manifest: Data,
    credential: Credential? = nil
  ) {
    self.check = check
    self.seed = seed
    self.fuzzSeconds = fuzzSeconds
    self.config = config
    self.manifest = manifest
    self.credential = credential
  }
}
