package import SkeinCore

/// Makes the refusals of a package: what was checked, in which file, why not, and the cure.
package enum Refusal {
  /// A check that a package failed, in the order in which they are made.
  package enum Check: String, Sendable, CaseIterable {
    /// The container: magic, version, lengths.
    case package
    /// Whether this broker takes a package that is signed, or not signed, like this.
    case policy
    case signature
    case manifest
    /// Operating system, architecture, C library.
    case platform
    /// Services of the host.
    case requires
    /// The bytes against the manifest's sha256.
    case hash
    /// The mark `.skein.abi` and the header's ABI.
    case abi
    /// What the file exports, and how it wants to be loaded.
    case symbols
  }

  /// `PLUGIN_REFUSED`: one sentence of cause and one of cure.
  package static func fault(
    _ check: Check, file: String, plugin: String = "", cause: String, cure: String,
    violations: [Fault.FieldViolation] = []
  ) -> Fault {
    let name = plugin.isEmpty ? "" : "\(plugin): "
    return Fault(
      .pluginRefused, "\(name)\(cause). \(cure).",
      metadata: ["check": check.rawValue, "file": file, "cure": cure, "plugin": plugin],
      violations: violations)
  }
}

/// One check that was passed, and what was seen.
package struct PassedCheck: Sendable, Hashable {
  package var name: String
  package var detail: String
  package init(_ name: String, _ detail: String) {
    self.name = name
    self.detail = detail
  }
}
