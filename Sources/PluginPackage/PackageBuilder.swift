package import SkeinCore

/// Makes a package from an author's template of a manifest and files: what the files say of themselves (platform, size,
/// hash, least glibc, ABI) is taken from them.
package enum PackageBuilder {
  /// A file and the name under which the template may speak of it.
  package struct File: Sendable {
    package var name: String
    package var bytes: [UInt8]
    package init(name: String, bytes: [UInt8]) {
      self.name = name
      self.bytes = bytes
    }
  }

  /// The template is a manifest that may leave out `schema`, `abi` and `artifacts`. Its artifacts may be
  /// `{"file": NAME}`, with `os`, `arch` or `libc_min` where they are to be said otherwise; without any, each file is one.
  /// - Throws: `PLUGIN_REFUSED` for a template or a file that no broker would take.
  package static func build(
    template: [UInt8], files: [File], privateKeyPEM: String?
  ) throws(Fault) -> (package: PackageFile, manifest: Manifest) {
    var members: [String: JSONValue]
    do throws(JSONProblem) { members = try JSONText.object(template) } catch {
      throw Manifest.refused(error.text.displayable)
    }
    let claims = try claims(members["artifacts"], files)
    var artifacts: [JSONValue] = []
    var parts: [SharedBytes] = []
    var mark: ELFFile.Mark?
    for (claim, file) in claims {
      let elf = try SharedBytes(file.bytes).withUnsafeBytes { (raw) throws(Fault) in
        try ELFFile(parsing: raw, file: file.name)
      }
      mark = mark ?? elf.abiMark
      artifacts.append(describe(file, elf, claim))
      parts.append(SharedBytes(file.bytes))
    }
    members["artifacts"] = .array(artifacts)
    if members["schema"] == nil { members["schema"] = .integer(Manifest.schema) }
    if members["abi"] == nil, let mark {
      members["abi"] = .object(["major": .integer(Int64(mark.major)), "minor": .integer(Int64(mark.minor))])
    }
    let text = JSONValue.object(members).text(pretty: true) + [UInt8(ascii: "\n")]
    let manifest = try Manifest(parsing: text)
    var package = PackageFile(manifest: text, seal: nil, artifacts: parts)
    // What no broker would load is not packed; for other platforms this machine cannot say.
    if manifest.artifacts.contains(where: { $0.platform == ArtifactCheck.platform }) {
      _ = try ArtifactCheck.verify(package: package, policy: TrustPolicy(allowDev: true))
    }
    if let privateKeyPEM {
      package.seal = PackageFile.Seal(
        keyID: try Signature.publicHalf(privateKeyPEM: privateKeyPEM).keyID,
        signature: try Signature.sign(text, privateKeyPEM: privateKeyPEM))
    }
    return (package, manifest)
  }

  private static func claims(
    _ value: JSONValue?, _ files: [File]
  ) throws(Fault) -> [(claim: [String: JSONValue], file: File)] {
    guard let value else {
      guard !files.isEmpty else { throw Manifest.refused("there is no .so beside it; build one first") }
      return files.map { ([:], $0) }
    }
    guard case .array(let elements) = value else {
      throw Manifest.refused("artifacts is \(value.kind), not an array; leave it out, or name files in it")
    }
    var claims: [(claim: [String: JSONValue], file: File)] = []
    for (index, element) in elements.enumerated() {
      guard case .object(var claim) = element, case .string(let name)? = claim.removeValue(forKey: "file")
      else {
        throw Manifest.refused("artifacts[\(index)] names no file; write {\"file\": \"NAME.so\"}")
      }
      guard let file = files.first(where: { $0.name == name }) else {
        throw Manifest.refused(
          "artifacts[\(index)].file: there is no \(name.displayable)\(NearestWord.hint(for: name, in: files.map(\.name)))"
        )
      }
      claims.append((claim, file))
    }
    return claims
  }

  private static func describe(
    _ file: File, _ elf: ELFFile, _ claim: [String: JSONValue]
  ) -> JSONValue {
    var members = claim
    members["os"] = members["os"] ?? .string("linux")
    members["arch"] = members["arch"] ?? .string(elf.machine.word)
    if members["libc_min"] == nil, let version = elf.glibcMinimum {
      members["libc_min"] = .string(version.description)
    }
    members["size"] = .integer(Int64(file.bytes.count))
    members["sha256"] = .string(Digest.hexadecimal(file.bytes))
    return .object(members)
  }
}
