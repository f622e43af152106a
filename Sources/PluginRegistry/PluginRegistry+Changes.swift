package import PluginPackage
package import SkeinCore
import CommitLog
import MetadataStore
import Wire

extension PluginRegistry {
  /// What an install did.
  package struct Installed: Sendable {
    package var entry: CatalogueEntry
    package var passed: [PassedCheck]
    /// The same bytes were there; nothing was changed.
    package var wasThere: Bool
  }

  /// Verifies a package, has it probed, stores it and enters it into the catalogue, enabled and without grants.
  /// - Parameters:
  ///   - verifyOnly: stop before anything is stored.
  ///   - probe: runs the verified bytes in a child; throws what it saw.
  /// - Throws: `PLUGIN_REFUSED`, `PLUGIN_EXISTS`, `PLUGIN_LIMIT`, `DISK_FULL`, `METADATA_UNAVAILABLE`, and what `probe`
  ///   throws. Nothing is left of it.
  package func install(
    package bytes: SharedBytes, by: String, verifyOnly: Bool = false,
    probe: @Sendable (VerifiedArtifact) async throws(Fault) -> String
  ) async throws(Fault) -> Installed {
    await turn.enter()
    defer { turn.leave() }
    let file = try PackageFile(parsing: bytes)
    let policy = try await policy()
    let checked = try ArtifactCheck.verify(package: file, policy: policy)
    let manifest = checked.artifact.manifest
    var record = PluginRecord(
      format: Self.recordFormat, manifestSha256: Digest.hexadecimal(file.manifest),
      keyID: file.seal?.keyID ?? "", enabled: true, installedMs: time.wallMilliseconds, installedBy: by)
    for artifact in manifest.artifacts { record.artifacts[artifact.platform] = artifact.sha256 }
    let known = try await known(manifest.reference, record)
    let passed = checked.passed + [PassedCheck("probe", try await probe(checked.artifact))]
    if verifyOnly {
      return Installed(
        entry: (known ?? record).entry(manifest.reference, policy), passed: passed, wasThere: known != nil)
    }
    try await store(
      file, checked.artifact, manifest.reference, isThere: known.map { $0.keyID == record.keyID })
    if let known, known.keyID == record.keyID {
      return Installed(entry: known.entry(manifest.reference, policy), passed: passed, wasThere: true)
    }
    let result = try await commit(
      Transaction(
        if: [.absent(key(manifest.reference))],
        then: [.put(key: key(manifest.reference), value: record.encoded())]))
    guard result.succeeded else { throw Self.exists(manifest.reference, "meanwhile") }
    return Installed(entry: record.entry(manifest.reference, policy), passed: passed, wasThere: false)
  }

  /// The record of the same version with the same bytes, if it is there.
  private func known(
    _ reference: PluginReference, _ record: PluginRecord
  ) async throws(Fault) -> PluginRecord? {
    let all = try await records()
    if let known = all.first(where: { $0.reference == reference })?.record {
      guard known.manifestSha256 == record.manifestSha256, known.artifacts == record.artifacts,
        known.keyID == record.keyID
      else { throw Self.exists(reference, "with other bytes, or another signature") }
      return known
    }
    if let other = all.first(where: { $0.record.sha256 == record.sha256 }) {
      throw Self.exists(reference, "under the name \(other.reference), with the same file")
    }
    guard all.count < Self.mostVersions else {
      throw Fault(
        .pluginLimit,
        "\(all.count) versions of plug-ins are installed, which is the limit; remove some that nothing uses",
        metadata: ["limit": String(Self.mostVersions)])
    }
    return nil
  }

  /// Files into their place, unless they are there, whole.
  private func store(
    _ package: PackageFile, _ artifact: VerifiedArtifact, _ reference: PluginReference, isThere: Bool?
  ) async throws(Fault) {
    let files = files
    let reserve = settings.reserveBytes
    let stored = PluginStore.Files(
      file: artifact.bytes, manifest: package.manifest, signature: package.seal?.signature ?? [])
    let sha256 = artifact.sha256
    let isSigned = package.seal != nil
    try await blocking.run { () throws(Fault) in
      if isThere == true, let read = try? files.read(sha256, plugin: reference, isSigned: isSigned),
        read.file == stored.file, read.manifest == stored.manifest, read.signature == stored.signature
      {
        return
      }
      try files.checkSpace(for: stored.file.count, reserve: reserve)
      try files.write(stored, as: sha256)
    }
  }

  /// - Throws: `PLUGIN_NOT_FOUND`, `CONFLICT`.
  package func setEnabled(_ reference: PluginReference, _ enabled: Bool) async throws(Fault) -> CatalogueEntry
  {
    try await change(reference) { (record) throws(Fault) in record.enabled = enabled }
  }

  /// Replaces the grants.
  /// - Throws: `PLUGIN_NOT_FOUND`, `PLUGIN_REFUSED` (check: policy) for a grant that its kind or trust forbids.
  package func setGrants(
    _ reference: PluginReference, _ grants: Set<PluginGrant>
  ) async throws(Fault) -> CatalogueEntry {
    let artifact = try await artifact(reference)
    if grants.contains(.inProcess), let cause = Self.mustStayOutside(artifact) {
      throw Refusal.fault(
        .policy, file: Manifest.fileName, plugin: "\(reference.id) \(reference.version)",
        cause: "it may not run in the broker: \(cause)",
        cure: "Leave it in its child; it is served there as well")
    }
    return try await change(reference) { (record) throws(Fault) in
      record.grants = grants.map(\.rawValue).sorted()
    }
  }

  /// Why a plug-in never runs in the broker (plugins.md C3); nil: it may.
  package static func mustStayOutside(_ artifact: VerifiedArtifact) -> String? {
    if artifact.manifest.kinds.contains(.authenticator) { return "authenticators run in a child, always" }
    if artifact.manifest.kinds.contains(.offsetStore), artifact.trust != .verified {
      return "offset stores run in the broker only when Skein's own key signed them"
    }
    return artifact.trust == .dev ? "nobody signed it" : nil
  }

  private func change(
    _ reference: PluginReference, _ edit: @Sendable (inout PluginRecord) throws(Fault) -> Void
  ) async throws(Fault) -> CatalogueEntry {
    await turn.enter()
    defer { turn.leave() }
    var (record, revision) = try await record(reference)
    try edit(&record)
    let result = try await commit(
      Transaction(
        if: [.unchanged(key(reference), since: revision)],
        then: [.put(key: key(reference), value: record.encoded())]))
    guard result.succeeded else { throw Self.conflict(reference.description) }
    return record.entry(reference, try await policy())
  }

  /// Takes a version out of the catalogue, then its files.
  /// - Parameter users: who uses it now; asked once no other change can come between.
  /// - Throws: `PLUGIN_NOT_FOUND`, `PLUGIN_IN_USE`, `CONFLICT`.
  package func remove(
    _ reference: PluginReference, users: @Sendable (PluginReference) -> [String]
  ) async throws(Fault) -> String {
    await turn.enter()
    defer { turn.leave() }
    await removal.enter()
    defer { removal.leave() }
    let (record, revision) = try await record(reference)
    let using = users(reference)
    guard using.isEmpty else {
      throw Fault(
        .pluginInUse,
        "\(reference) is used by \(Self.shown(using)); give them another one first, with `skein topic partitioner set`",
        metadata: ["plugin": reference.description, "used_by": using.prefix(20).joined(separator: ", ")])
    }
    let result = try await commit(
      Transaction(
        if: [.unchanged(key(reference), since: revision)], then: [.delete(.key(key(reference)))]))
    guard result.succeeded else { throw Self.conflict(reference.description) }
    let files = files
    let sha256 = record.sha256
    // It is removed: files that stay behind are nobody's, and go at the next start.
    _ = try? await blocking.run { () throws(Fault) -> Bool in
      do throws(DiskError) { try files.remove(sha256) } catch { throw PluginStore.fault(error) }
      return true
    }
    return sha256
  }

  static func shown(_ users: [String]) -> String {
    users.prefix(5).map(\.displayable).joined(separator: ", ")
      + (users.count > 5 ? " and \(users.count - 5) more" : "")
  }

  static func conflict(_ what: String) -> Fault {
    Fault(.conflict, "\(what) was changed by somebody else meanwhile; look again and repeat")
  }

  private static func exists(_ reference: PluginReference, _ how: String) -> Fault {
    Fault(
      .pluginExists,
      "\(reference) is installed already, \(how); versions never change: give the new one another version",
      metadata: ["plugin": reference.description])
  }
}
