package import CommitLog
package import MetadataStore
package import PluginPackage
package import SkeinCore
import Wire

/// What is installed and who is trusted.
///
/// The catalogue, `<prefix>catalog/<id>@<version>`, and the keys, `<prefix>keys/<key id>`, are in the metadata store and
/// are the truth; the files are in a `PluginStore`. Nothing is found by looking into folders. A version never
/// changes; versions stand side by side. Each load reads the files again, hashes and verifies them, and hands
/// out those very bytes.
///
/// **Crash.** Files first, durably; then the catalogue, in one transaction; what has files and no entry goes at the next
/// `open`. So a crash anywhere leaves either the whole version or nothing.
/// Threading: any task; changes pass one at a time.
package final class PluginRegistry: Sendable {
  package static let mostVersions = 1_000
  package static let mostKeys = 100

  package struct Settings: Sendable {
    /// `plugins.allow-dev`.
    package var allowDev = false
    /// The public key of Skein's own plug-ins; PEM; empty: none.
    package var releaseKey = ""
    /// Bytes that an install leaves free on the disk.
    package var reserveBytes: Int64 = 0
    package init() {}
  }

  let metadata: any MetadataStore
  let catalogue: [UInt8]
  let keyFolder: [UInt8]
  let files: PluginStore
  let settings: Settings
  let releaseKey: TrustedKey?
  let time: any TimeSource
  let blocking: BlockingWork
  let turn = Turn()
  /// Held by a removal from its question who uses the version until the version is gone.
  let removal = Turn()

  private init(
    metadata: any MetadataStore, keyPrefix: [UInt8], files: PluginStore, settings: Settings,
    releaseKey: TrustedKey?, time: any TimeSource, blocking: BlockingWork
  ) {
    self.metadata = metadata
    catalogue = keyPrefix + Array("catalog/".utf8)
    keyFolder = keyPrefix + Array("keys/".utf8)
    self.files = files
    self.settings = settings
    self.releaseKey = releaseKey
    self.time = time
    self.blocking = blocking
  }

  /// Opens the registry and removes what a crash left of an install.
  /// - Parameters:
  ///   - keyPrefix: `/skein/<cluster>/sys/plugins/`.
  ///   - disk: a folder of its own.
  /// - Throws: `INVALID_REQUEST` for a release key that is none, `METADATA_UNAVAILABLE`, `INTERNAL` (disk).
  package static func open(
    store: any MetadataStore, keyPrefix: [UInt8], disk: any Disk, settings: Settings, time: any TimeSource,
    blocking: BlockingWork
  ) async throws(Fault) -> PluginRegistry {
    var releaseKey: TrustedKey?
    if !settings.releaseKey.isEmpty {
      releaseKey = TrustedKey(
        id: try Signature.keyID(publicKeyPEM: settings.releaseKey), name: "skein", pem: settings.releaseKey,
        level: .verified, addedMilliseconds: 0, addedBy: "")
    }
    let registry = PluginRegistry(
      metadata: store, keyPrefix: keyPrefix, files: PluginStore(disk: disk), settings: settings,
      releaseKey: releaseKey, time: time, blocking: blocking)
    let kept = Set(try await registry.records().map(\.record.sha256))
    let files = registry.files
    try await blocking.run { () throws(Fault) in try files.open(keeping: kept) }
    return registry
  }

  // MARK: Looking

  /// In the order of id and version.
  package func list() async throws(Fault) -> [CatalogueEntry] {
    let policy = try await policy()
    return try await records().map { $0.record.entry($0.reference, policy) }.sorted {
      $0.reference < $1.reference
    }
  }

  /// - Throws: `PLUGIN_NOT_FOUND`.
  package func entry(_ reference: PluginReference) async throws(Fault) -> CatalogueEntry {
    let policy = try await policy()
    return try await record(reference).record.entry(reference, policy)
  }

  /// As `entry`, for who is about to use the version and has said so to the `users` that `remove` asks: it waits for a
  /// removal that did not hear of it, so that what is bound is never removed at the same moment.
  package func entryForUse(_ reference: PluginReference) async throws(Fault) -> CatalogueEntry {
    await removal.enter()
    defer { removal.leave() }
    return try await entry(reference)
  }

  /// The bytes to load, read and checked now: hash, signature, policy, and all that needs nothing to run.
  /// - Throws: `PLUGIN_NOT_FOUND`, `PLUGIN_REFUSED`.
  package func artifact(_ reference: PluginReference) async throws(Fault) -> VerifiedArtifact {
    let policy = try await policy()
    let record = try await record(reference).record
    let entry = record.entry(reference, policy)
    let read = try await stored(reference, record)
    return try ArtifactCheck.verify(
      file: read.file, manifest: read.manifest, seal: record.seal(read.signature), policy: policy,
      grants: entry.grants)
  }

  /// The manifest's bytes as they were signed.
  /// - Throws: `PLUGIN_NOT_FOUND`, `PLUGIN_REFUSED`.
  package func manifest(_ reference: PluginReference) async throws(Fault) -> [UInt8] {
    try await stored(reference, try await record(reference).record).manifest
  }

  /// The policy's word alone, without reading the file.
  /// - Throws: `PLUGIN_NOT_FOUND`, `PLUGIN_REFUSED` (check: policy or signature).
  package func checkTrust(_ reference: PluginReference) async throws(Fault) {
    let policy = try await policy()
    let record = try await record(reference).record
    _ = try policy.judge(PackageFile(manifest: [], seal: record.seal([]), artifacts: []))
  }

  /// What lies in the store, against the catalogue: neither file nor manifest may be another one, whoever signed it.
  private func stored(
    _ reference: PluginReference, _ record: PluginRecord
  ) async throws(Fault) -> PluginStore.Files {
    let files = files
    return try await blocking.run { () throws(Fault) in
      let read = try files.read(record.sha256, plugin: reference, isSigned: !record.keyID.isEmpty)
      guard Digest.hexadecimal(read.file) == record.sha256 else {
        throw PluginStore.altered(reference, ArtifactCheck.fileName, "has other bytes")
      }
      guard Digest.hexadecimal(read.manifest) == record.manifestSha256 else {
        throw PluginStore.altered(reference, Manifest.fileName, "has other bytes")
      }
      return read
    }
  }

  // MARK: The stored form

  static let recordFormat: UInt32 = 1

  /// A catalogue key. Give it to a transaction that binds the version, as a compare that it is there: then nobody
  /// removes it in between.
  package func key(_ reference: PluginReference) -> [UInt8] {
    catalogue + Array(reference.description.utf8)
  }

  func records() async throws(Fault) -> [(reference: PluginReference, record: PluginRecord)] {
    var found: [(PluginReference, PluginRecord)] = []
    for pair in try await range(catalogue, limit: Self.mostVersions) {
      let name = String(decoding: pair.key.dropFirst(catalogue.count), as: UTF8.self)
      found.append((try PluginReference(parsing: name), try Self.decode(pair.value, name)))
    }
    return found
  }

  /// - Throws: `PLUGIN_NOT_FOUND`.
  func record(
    _ reference: PluginReference
  ) async throws(Fault) -> (record: PluginRecord, revision: Revision) {
    guard let pair = try await get(key(reference)) else { throw Self.notFound(reference) }
    return (try Self.decode(pair.value, reference.description), pair.modRevision)
  }

  private static func decode(_ bytes: [UInt8], _ name: String) throws(Fault) -> PluginRecord {
    let record = try PluginRecord(decoding: bytes)
    guard record.format == recordFormat, Digest.isHexadecimal(record.sha256) else {
      throw Fault(
        .internalError,
        "the catalogue's record of \(name.displayable) (format \(record.format)) cannot be read by this version; start the version that wrote it"
      )
    }
    return record
  }

  /// Whom a package may be from, now.
  func policy() async throws(Fault) -> TrustPolicy {
    var policy = TrustPolicy(allowDev: settings.allowDev)
    for key in try await keys() { policy.keys[key.id] = .init(pem: key.pem, level: key.level) }
    return policy
  }

  // MARK: The metadata store

  func get(_ key: [UInt8]) async throws(Fault) -> KeyValue? {
    do throws(MetadataError) { return try await metadata.get(key) } catch { throw error.fault }
  }

  func range(_ prefix: [UInt8], limit: Int) async throws(Fault) -> [KeyValue] {
    do throws(MetadataError) {
      return try await metadata.range(RangeRequest(.prefix(prefix), limit: limit)).keyValues
    } catch {
      throw error.fault
    }
  }

  func commit(_ transaction: Transaction) async throws(Fault) -> TransactionResult {
    do throws(MetadataError) { return try await metadata.transact(transaction) } catch { throw error.fault }
  }

  static func notFound(_ reference: PluginReference) -> Fault {
    Fault(
      .pluginNotFound,
      "\(reference) is not installed; `skein plugin list` shows what is, `skein plugin install` adds it",
      metadata: ["plugin": reference.description])
  }
}

extension PluginRecord {
  /// Of this platform's file.
  var sha256: String { artifacts[ArtifactCheck.platform] ?? "" }

  /// What is said to have been signed: by the catalogue, not by what lies on the disk.
  func seal(_ signature: [UInt8]) -> PackageFile.Seal? {
    keyID.isEmpty ? nil : PackageFile.Seal(keyID: keyID, signature: signature)
  }

  func entry(_ reference: PluginReference, _ policy: TrustPolicy) -> CatalogueEntry {
    let unsigned: TrustLevel? = policy.allowDev ? .dev : nil
    return CatalogueEntry(
      reference: reference, sha256: sha256, manifestSHA256: manifestSha256, keyID: keyID, isEnabled: enabled,
      grants: Set(grants.compactMap { PluginGrant(rawValue: $0) }), installedMilliseconds: installedMs,
      installedBy: installedBy, trust: keyID.isEmpty ? unsigned : policy.keys[keyID]?.level)
  }
}
