import SkeinCore
import Transport
import Wire

/// Plug-ins: what is installed, whose packages are accepted, and what they may do. A version is named `ID@VERSION`.
extension Admin {
  /// The catalogue, built-ins first.
  /// - Parameter kind: `partitioner`, `offset-store`, `authenticator`; empty is all.
  public func listPlugins(kind: String = "") async throws(SkeinError) -> [PluginSummary] {
    try await client.unary(PluginsMethod.list, ListPluginsRequest(kind: kind), ListPluginsResponse.self)
      .plugins
      .map(PluginSummary.init)
  }

  /// One version, or a built-in by its name.
  /// - Throws: PLUGIN_NOT_FOUND.
  public func describePlugin(_ reference: String) async throws(SkeinError) -> PluginDescription {
    let (id, version) = Self.split(reference)
    let reply = try await client.unary(
      PluginsMethod.describe, DescribePluginRequest(id: id, version: version), DescribePluginResponse.self)
    return PluginDescription(
      plugin: PluginSummary(reply.plugin ?? Wire.PluginSummary()), manifest: reply.manifest,
      publisher: reply.publisher, keyID: reply.keyID, usedBy: reply.usedBy, calls: reply.calls,
      records: reply.records, faults: reply.faults, restarts: Int(reply.restarts),
      strikes: Int(reply.strikes),
      recentFaults: reply.recentFaults.map {
        PluginIncident(at: $0.atMs, kind: $0.kind, detail: $0.detail, usedBy: $0.usedBy)
      },
      problem: reply.problem.map { SkeinError(Fault($0)) }, processID: reply.processID,
      nanosecondsPerRecord: reply.nanosecondsPerRecord)
  }

  /// Installs a package (the bytes of a `.skeinplug`). The broker checks all of it and tries it in a process of its own
  /// before anything is stored. Installing the same bytes again changes nothing.
  /// - Parameters:
  ///   - sha256: of the package, hexadecimal.
  ///   - verifyOnly: check and try it, and install nothing.
  ///   - progress: bytes handed to the connection so far, now and then, on its thread.
  /// - Throws: PLUGIN_REFUSED, PLUGIN_EXISTS, PLUGIN_PROBE_FAILED, PLUGIN_LIMIT, DISK_FULL, OVERLOADED (another install).
  public func installPlugin(
    _ package: [UInt8], sha256: String, verifyOnly: Bool = false,
    progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws(SkeinError) -> PluginInstallation {
    let connection = try await client.connector.connect()
    let upload = PackageUpload(
      SharedBytes(package), sha256: sha256, verifyOnly: verifyOnly, progress: progress)
    let result = await upload.run(on: connection)
    await connection.close()
    let bytes = try result.get()
    do throws(Fault) {
      let reply = try InstallPluginResponse(decoding: bytes)
      return PluginInstallation(
        plugin: PluginSummary(reply.plugin ?? Wire.PluginSummary()),
        checks: reply.checks.map { .init(name: $0.name, detail: $0.detail) },
        wasInstalledBefore: reply.wasInstalledBefore)
    } catch {
      throw SkeinError(error)
    }
  }

  /// Lets a version be used again, or no longer be newly used; who has it keeps it.
  /// - Throws: PLUGIN_NOT_FOUND.
  @discardableResult
  public func setPluginEnabled(_ reference: String, _ enabled: Bool) async throws(SkeinError) -> PluginSummary
  {
    let (id, version) = Self.split(reference)
    if enabled {
      return PluginSummary(
        try await client.unary(
          PluginsMethod.enable, EnablePluginRequest(id: id, version: version), EnablePluginResponse.self
        ).plugin ?? Wire.PluginSummary())
    }
    return PluginSummary(
      try await client.unary(
        PluginsMethod.disable, DisablePluginRequest(id: id, version: version), DisablePluginResponse.self
      ).plugin ?? Wire.PluginSummary())
  }

  /// Removes a version and its bytes.
  /// - Throws: PLUGIN_IN_USE, PLUGIN_NOT_FOUND.
  public func removePlugin(_ reference: String) async throws(SkeinError) {
    let (id, version) = Self.split(reference)
    _ = try await client.unary(
      PluginsMethod.remove, RemovePluginRequest(id: id, version: version), RemovePluginResponse.self)
  }

  /// Replaces what a version may do beyond the default.
  /// - Parameter grants: `in-process`, `network`; empty takes all back.
  /// - Throws: PLUGIN_NOT_FOUND, PLUGIN_REFUSED (its kind or trust forbids it), INVALID_REQUEST.
  @discardableResult
  public func grantPlugin(_ reference: String, _ grants: [String]) async throws(SkeinError) -> PluginSummary {
    let (id, version) = Self.split(reference)
    return PluginSummary(
      try await client.unary(
        PluginsMethod.grant, GrantPluginRequest(id: id, version: version, grants: grants),
        GrantPluginResponse.self
      ).plugin ?? Wire.PluginSummary())
  }

  /// Ends a quarantine and forgets the strikes.
  /// - Throws: PLUGIN_NOT_FOUND.
  @discardableResult
  public func releasePlugin(_ reference: String) async throws(SkeinError) -> PluginSummary {
    let (id, version) = Self.split(reference)
    return PluginSummary(
      try await client.unary(
        PluginsMethod.release, ReleasePluginRequest(id: id, version: version), ReleasePluginResponse.self
      ).plugin ?? Wire.PluginSummary())
  }

  // MARK: Keys

  /// The keys whose signatures are accepted; the broker's own first.
  public func listPluginKeys() async throws(SkeinError) -> [PluginTrustKey] {
    try await client.unary(PluginsMethod.listKeys, ListPluginKeysRequest(), ListPluginKeysResponse.self).keys
      .map(PluginTrustKey.init)
  }

  /// Accepts what a key signs.
  /// - Parameters:
  ///   - pem: its public half, Ed25519.
  ///   - name: 1 to 63 bytes, for people.
  /// - Throws: INVALID_REQUEST, PLUGIN_LIMIT.
  @discardableResult
  public func addPluginKey(_ pem: String, name: String) async throws(SkeinError) -> PluginTrustKey {
    PluginTrustKey(
      try await client.unary(
        PluginsMethod.addKey, AddPluginKeyRequest(name: name, pem: pem), AddPluginKeyResponse.self
      ).key ?? PluginKey())
  }

  /// Accepts it no longer: what it signed is not loaded again.
  /// - Throws: PLUGIN_KEY_NOT_FOUND, PLUGIN_IN_USE.
  public func removePluginKey(_ id: String) async throws(SkeinError) {
    _ = try await client.unary(
      PluginsMethod.removeKey, RemovePluginKeyRequest(keyID: id), RemovePluginKeyResponse.self)
  }

  private static func split(_ reference: String) -> (id: String, version: String) {
    guard let at = reference.firstIndex(of: "@") else { return (reference, "") }
    return (String(reference[..<at]), String(reference[reference.index(after: at)...]))
  }
}

extension PluginSummary {
  init(_ wire: Wire.PluginSummary) {
    self.init(
      id: wire.id, version: wire.version, kinds: wire.kinds, trust: wire.trust, placement: wire.placement,
      state: wire.state, uses: Int(wire.uses), sha256: wire.sha256, grants: wire.grants,
      installed: wire.installedMs)
  }
}

extension PluginTrustKey {
  init(_ wire: PluginKey) {
    self.init(
      id: wire.keyID, name: wire.name, pem: wire.pem, added: wire.addedMs, addedBy: wire.addedBy,
      trust: wire.trust)
  }
}
