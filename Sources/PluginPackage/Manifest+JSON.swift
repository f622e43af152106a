package import SkeinCore

extension Manifest {
  /// The version of the manifest's form.
  package static let schema: Int64 = 1
  /// The name under which problems with it are told.
  package static let fileName = "manifest.json"

  /// Reads a manifest, strictly: unknown members, other types and values outside their limits are refused, all at once.
  /// - Throws: `PLUGIN_REFUSED` (check: manifest) with a violation for each field.
  package init(parsing bytes: [UInt8]) throws(Fault) {
    guard bytes.count <= PackageFile.mostManifestBytes else {
      throw Self.refused("it has \(bytes.count) bytes, more than \(PackageFile.mostManifestBytes)")
    }
    let object: [String: JSONValue]
    do throws(JSONProblem) { object = try JSONText.object(bytes) } catch {
      throw Self.refused(error.text.displayable)
    }
    var members = JSONMembers(object)
    _ = members.integer("schema", Self.schema...Self.schema)
    let id = members.text("id", length: 1...200)
    let version = members.text("version", length: 1...200)
    if !id.isEmpty, let problem = PluginReference.problem(id: id) { members.problem("id", problem) }
    if !version.isEmpty, let problem = PluginReference.problem(version: version) {
      members.problem("version", problem)
    }
    let abi = Self.abi(&members)
    let needs = Needs(&members)
    self.init(
      reference: PluginReference(checkedID: id, version: version), kinds: Self.kinds(&members),
      abiMajor: abi.major, abiMinor: abi.minor,
      requires: members.texts("requires", count: 0...16, length: 3...64),
      configSchema: Self.configSchema(&members), artifacts: Self.artifacts(&members),
      runtime: Self.runtime(&members), isPure: members.bool("pure", standard: false),
      headers: members.texts("headers", count: 0...8, length: 1...256),
      needsTimestamps: members.bool("timestamps", standard: false), needsNetwork: needs.network,
      paths: needs.paths, memoryMegabytes: needs.memory,
      publisher: members.text("publisher", length: 1...200),
      builtFrom: members.text("built_from", length: 0...500, standard: ""))
    members.refuseUnknown()
    guard members.problems.isEmpty else {
      throw Self.refused(
        members.problems.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        plugin: id.isEmpty ? "" : "\(id) \(version)".displayable, violations: members.problems)
    }
  }

  /// As text, members in the order of their names; `init(parsing:)` gives the same manifest back.
  package func encoded() -> [UInt8] {
    var members: [String: JSONValue] = [
      "schema": .integer(Self.schema), "id": .string(reference.id), "version": .string(reference.version),
      "kinds": .array(kinds.map { .string($0.rawValue) }),
      "abi": .object(["major": .integer(Int64(abiMajor)), "minor": .integer(Int64(abiMinor))]),
      "requires": .array(requires.map { .string($0) }),
      "artifacts": .array(artifacts.map(\.json)), "runtime": .string(runtime), "pure": .bool(isPure),
      "headers": .array(headers.map { .string($0) }), "timestamps": .bool(needsTimestamps),
      "needs": .object([
        "network": .bool(needsNetwork), "paths": .array(paths.map { .string($0) }),
        "memory_mb": .integer(Int64(memoryMegabytes)),
      ]),
      "publisher": .string(publisher), "built_from": .string(builtFrom),
    ]
    if let configSchema, let schema = try? JSONText.object(Array(configSchema.utf8)) {
      members["config_schema"] = .object(schema)
    }
    return JSONValue.object(members).text(pretty: true) + [UInt8(ascii: "\n")]
  }

  // MARK: Fields

  private static func kinds(_ members: inout JSONMembers) -> [PluginKind] {
    members.texts("kinds", count: 1...3, length: 1...64).compactMap { text in
      if let kind = PluginKind(rawValue: text) { return kind }
      let known = PluginKind.allCases.map(\.rawValue)
      members.problem(
        "kinds",
        "\"\(text.displayable)\" is not known; known: \(known.joined(separator: ", "))\(NearestWord.hint(for: text, in: known))"
      )
      return nil
    }
  }

  private static func abi(_ members: inout JSONMembers) -> (major: UInt32, minor: UInt32) {
    guard let object = members.object("abi", isRequired: true) else { return (0, 0) }
    var abi = JSONMembers(object, path: "abi.")
    let major = abi.integer("major", 1...1_000)
    let minor = abi.integer("minor", 0...1_000_000)
    abi.refuseUnknown()
    members.take(abi.problems)
    return (UInt32(clamping: major), UInt32(clamping: minor))
  }

  private static func configSchema(_ members: inout JSONMembers) -> String? {
    guard let object = members.object("config_schema", isRequired: false) else { return nil }
    let text = String(decoding: JSONValue.object(object).text(pretty: false), as: UTF8.self)
    do throws(Fault) { _ = try ConfigSchema(parsing: text) } catch { members.take(error.violations) }
    return text
  }

  private static func runtime(_ members: inout JSONMembers) -> String {
    let runtime = members.text("runtime", length: 1...40)
    let isSwift = runtime.hasPrefix("swift-") && runtime.count > 6
    if !runtime.isEmpty, runtime != "c", runtime != "embedded", !isSwift {
      members.problem("runtime", "must be c, embedded, swift-static or swift-VERSION")
    }
    return runtime
  }

  private static func artifacts(_ members: inout JSONMembers) -> [Artifact] {
    guard case .array(let elements)? = members.value("artifacts"),
      (1...PackageFile.mostArtifacts).contains(elements.count)
    else {
      members.problem("artifacts", "must be an array of 1 to \(PackageFile.mostArtifacts) objects")
      return []
    }
    var artifacts: [Artifact] = []
    for (index, element) in elements.enumerated() {
      let path = "artifacts[\(index)]"
      guard case .object(let object) = element else {
        members.problem(path, "is \(element.kind), not an object")
        continue
      }
      var fields = JSONMembers(object, path: path + ".")
      let artifact = Artifact(&fields)
      if artifacts.contains(where: { $0.platform == artifact.platform }) {
        fields.problem(
          "arch", "\(artifact.platform.displayable) stands there twice; keep one file a platform")
      }
      members.take(fields.problems)
      artifacts.append(artifact)
    }
    return artifacts
  }

  private struct Needs {
    var network = false
    var paths: [String] = []
    var memory = 64

    init(_ members: inout JSONMembers) {
      guard let object = members.object("needs", isRequired: false) else { return }
      var fields = JSONMembers(object, path: "needs.")
      network = fields.bool("network", standard: false)
      paths = fields.texts("paths", count: 0...16, length: 1...1_024)
      for (index, path) in paths.enumerated() {
        let parts = path.split(separator: "/")
        if !path.hasPrefix("/") || parts.isEmpty || parts.contains("..") {
          fields.problem("paths[\(index)]", "must be an absolute path below /, without ..")
        }
      }
      memory = Int(fields.integer("memory_mb", 16...4_096, standard: 64))
      fields.refuseUnknown()
      members.take(fields.problems)
    }
  }

  static func refused(
    _ cause: String, plugin: String = "", violations: [Fault.FieldViolation] = []
  ) -> Fault {
    Refusal.fault(
      .manifest, file: fileName, plugin: plugin, cause: "\(fileName) cannot be used: \(cause)",
      cure: "Correct the manifest and pack again, or ask the plug-in's author to",
      violations: violations)
  }
}

extension Manifest.Artifact {
  /// "linux/amd64".
  package var platform: String { "\(os)/\(architecture)" }

  fileprivate init(_ fields: inout JSONMembers) {
    let os = fields.text("os", length: 1...20)
    let architecture = fields.text("arch", length: 1...20)
    let isPlain = { (text: String) in
      text.utf8.allSatisfy {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
      }
    }
    if !isPlain(os) { fields.problem("os", "must be of a-z and 0-9, like linux") }
    if !isPlain(architecture) { fields.problem("arch", "must be of a-z and 0-9, like amd64 or arm64") }
    let libc = fields.text("libc_min", length: 0...10, standard: "")
    if !libc.isEmpty, LibraryVersion(libc) == nil { fields.problem("libc_min", "must be like 2.36") }
    let size = fields.integer("size", 1...Int64(PackageFile.mostArtifactBytes))
    let sha256 = fields.text("sha256", length: 64...64)
    if !sha256.isEmpty, !Digest.isHexadecimal(sha256) {
      fields.problem("sha256", "must be 64 digits 0-9 a-f")
    }
    fields.refuseUnknown()
    self.init(
      os: os, architecture: architecture, libcMinimum: libc.isEmpty ? nil : libc, size: Int(size),
      sha256: sha256)
  }

  fileprivate var json: JSONValue {
    var members: [String: JSONValue] = [
      "os": .string(os), "arch": .string(architecture), "size": .integer(Int64(size)),
      "sha256": .string(sha256),
    ]
    if let libcMinimum { members["libc_min"] = .string(libcMinimum) }
    return .object(members)
  }
}
