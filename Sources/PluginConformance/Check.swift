package import PluginPackage

/// One promise that a plug-in keeps or breaks, and the code that tries it in a fresh child.
package struct Check: Sendable {
  /// `group.name`, stable: reports and tests of authors name it.
  package let name: String
  /// What a plug-in that passes has shown, in one sentence.
  package let promise: String
  /// Plug-ins of these kinds; empty: all.
  package let kinds: Set<PluginKind>
  /// Checks that must have passed: without them this one would say the same again.
  package let after: [String]
  /// How long one child may take.
  package let seconds: Double
  /// How many children, one after another; each knows its number.
  package let processes: Int
  /// Runs in the child.
  let body: @Sendable (CheckContext) throws -> Finding
  /// Runs in the parent once all children are done and passed; nil: the finding of the last one holds.
  let compare: (@Sendable ([Observation]) -> Finding)?

  init(
    _ name: String, _ promise: String, kinds: Set<PluginKind> = [], after: [String] = [],
    seconds: Double = 10, processes: Int = 1,
    compare: (@Sendable ([Observation]) -> Finding)? = nil,
    _ body: @escaping @Sendable (CheckContext) throws -> Finding
  ) {
    self.name = name
    self.promise = promise
    self.kinds = kinds
    self.after = after
    self.seconds = seconds
    self.processes = processes
    self.compare = compare
    self.body = body
  }
}

/// What a check found.
package struct Finding: Codable, Sendable, Hashable {
  package enum Result: String, Codable, Sendable {
    case passed
    case failed
    /// Not tried; `cause` says why.
    case skipped
  }
  package var result: Result
  /// One sentence: what was seen, or why nothing was tried.
  package var cause: String?
  /// One sentence: what the author does about it.
  package var cure: String?
  /// Figures, each with its unit in its name.
  package var measured: [String: Double] = [:]
  /// Digests that are compared between children; not part of the report.
  var evidence: [String: String] = [:]

  package static func passed(
    _ measured: [String: Double] = [:], evidence: [String: String] = [:]
  ) -> Finding {
    Finding(result: .passed, measured: measured, evidence: evidence)
  }
  package static func skipped(_ why: String) -> Finding { Finding(result: .skipped, cause: why) }
  package static func failed(
    _ cause: String, cure: String, measured: [String: Double] = [:]
  ) -> Finding {
    Finding(result: .failed, cause: cause, cure: cure, measured: measured)
  }
}

/// Thrown by the body of a check: the plug-in broke the promise.
package struct Broken: Error, Sendable {
  package let finding: Finding
  package init(_ cause: String, cure: String, measured: [String: Double] = [:]) {
    finding = .failed(cause, cure: cure, measured: measured)
  }
}

/// What one child left behind.
struct Observation: Sendable {
  var finding: Finding
  /// The beginning of its stdout and stderr.
  var output: [UInt8]
  var outputBytes: Int
}
