import MetadataStore
package import PluginPackage
package import SkeinCore
import Wire

extension PluginRegistry {
  /// Skein's own first, then those of operators, by id.
  package func keys() async throws(Fault) -> [TrustedKey] {
    var keys: [TrustedKey] = releaseKey.map { [$0] } ?? []
    for pair in try await range(keyFolder, limit: Self.mostKeys) {
      let id = String(decoding: pair.key.dropFirst(keyFolder.count), as: UTF8.self)
      guard id != releaseKey?.id else { continue }
      let record = try PluginKeyRecord(decoding: pair.value)
      guard record.format == Self.recordFormat else {
        throw Fault(
          .internalError,
          "the record of the key \(id.displayable) (format \(record.format)) cannot be read by this version")
      }
      keys.append(
        TrustedKey(
          id: id, name: record.name, pem: record.pem, level: .trusted, addedMilliseconds: record.addedMs,
          addedBy: record.addedBy))
    }
    return keys
  }

  /// Accepts what a key signs. Adding it again renames it.
  /// - Throws: `INVALID_REQUEST` (no Ed25519 public key, a bad name), `PLUGIN_LIMIT`.
  package func addKey(name: String, pem: String, by: String) async throws(Fault) -> TrustedKey {
    await turn.enter()
    defer { turn.leave() }
    guard (1...63).contains(name.utf8.count), name.unicodeScalars.allSatisfy({ $0.value >= 0x20 }) else {
      let text = "a key's name has 1 to 63 bytes without control characters, e.g. acme"
      throw Fault(.invalidRequest, text, violations: [.init(field: "name", description: text)])
    }
    let id = try Signature.keyID(publicKeyPEM: pem)
    if let releaseKey, releaseKey.id == id { return releaseKey }
    let known = try await keys()
    guard known.count < Self.mostKeys || known.contains(where: { $0.id == id }) else {
      throw Fault(
        .pluginLimit, "\(known.count) keys are trusted, which is the limit; remove one first",
        metadata: ["limit": String(Self.mostKeys)])
    }
    let record = PluginKeyRecord(
      format: Self.recordFormat, name: name, pem: pem, addedMs: time.wallMilliseconds, addedBy: by)
    _ = try await commit(Transaction(then: [.put(key: keyFolder + Array(id.utf8), value: record.encoded())]))
    return TrustedKey(
      id: id, name: name, pem: pem, level: .trusted, addedMilliseconds: record.addedMs, addedBy: by)
  }

  /// Accepts it no longer: what it signed is not loaded again.
  /// - Throws: `PLUGIN_KEY_NOT_FOUND`, `PLUGIN_IN_USE` when something that it signed is used,
  ///   `INVALID_REQUEST` for Skein's own, which is a setting.
  package func removeKey(
    _ id: String, users: @Sendable (PluginReference) -> [String]
  ) async throws(Fault) -> TrustedKey {
    await turn.enter()
    defer { turn.leave() }
    guard let key = try await keys().first(where: { $0.id == id }) else {
      throw Fault(
        .pluginKeyNotFound,
        "no trusted key has the id \"\(String(id.prefix(64)).displayable)\"; `skein plugin trust list` shows them",
        metadata: ["key_id": String(id.prefix(64))])
    }
    guard key.level != .verified else {
      throw Fault(
        .invalidRequest, "the key \(id) came with the broker; change the setting plugins.release-key instead",
        violations: [.init(field: "key_id", description: "came with the broker")])
    }
    let used = try await records().filter { $0.record.keyID == id && !users($0.reference).isEmpty }
    guard used.isEmpty else {
      let names = used.map(\.reference.description).sorted()
      throw Fault(
        .pluginInUse,
        "the key \(id) signed \(Self.shown(names)), which is in use; give its users another plug-in first",
        metadata: ["plugins": names.prefix(20).joined(separator: ", ")])
    }
    _ = try await commit(Transaction(then: [.delete(.key(keyFolder + Array(id.utf8)))]))
    return key
  }
}
