import Foundation
import PluginPackage
import SkeinCore

/// What a run found. Docs/plugins/conformance.md has the schema of its JSON.
package struct ConformanceReport: Codable, Sendable {
  package struct Row: Codable, Sendable {
    package var name: String
    package var promise: String
    package var result: Finding.Result
    package var cause: String?
    package var cure: String?
    package var measured: [String: Double]
    package var seconds: Double

    init(check: Check, finding: Finding, seconds: Double) {
      name = check.name
      promise = check.promise
      result = finding.result
      cause = finding.cause
      cure = finding.cure
      measured = finding.measured.mapValues { ($0 * 1_000).rounded() / 1_000 }
      self.seconds = (seconds * 1_000).rounded() / 1_000
    }
  }

  /// The version of this form.
  package var schema = 1
  package var id: String
  package var version: String
  package var kinds: [String]
  package var file: String
  package var sha256: String
  package var platform: String
  package var abi: String
  package var started: String
  package var seed: UInt64
  package var fuzzSeconds: Double
  package var config: String
  /// Whether it may be installed for real: no check failed, and none was left out.
  package var verdict: String
  package var passed: Int
  package var failed: Int
  package var skipped: Int
  package var checks: [Row]

  init(file: TestedFile, options: ConformanceRun.Options, started: Date, rows: [Row]) {
    id = file.manifest.reference.id
    version = file.manifest.reference.version
    kinds = file.manifest.kinds.map(\.rawValue)
    self.file = URL(fileURLWithPath: file.path).lastPathComponent
    sha256 = file.sha256
    platform = ArtifactCheck.platform
    abi = "\(file.manifest.abiMajor).\(file.manifest.abiMinor)"
    self.started = ISO8601DateFormatter().string(from: started)
    seed = options.seed
    fuzzSeconds = options.fuzzSeconds
    config = options.config ?? ConfigSamples.good(schema: file.manifest.configSchema)
    checks = rows
    passed = rows.filter { $0.result == .passed }.count
    failed = rows.filter { $0.result == .failed }.count
    skipped = rows.filter { $0.result == .skipped }.count
    verdict = failed > 0 ? "failed" : options.only.isEmpty ? "passed" : "partly tried"
  }

  enum CodingKeys: String, CodingKey {
    case schema, id, version, kinds, file, sha256, platform, abi, started, seed, config, verdict, passed,
      failed
    case skipped, checks
    case fuzzSeconds = "fuzz_seconds"
  }

  /// JSON with members in the order of their names, and a newline at its end.
  package func json() throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(self)) + [UInt8(ascii: "\n")]
  }
}
