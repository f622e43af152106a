import Logging
import PluginPackage
import PluginRegistry
import SkeinCore
import Transport
import Wire

/// `skein.v1.Plugins`. Diff, Bind and Rollback are `PartitionerService`'s.
struct PluginsService: Sendable {
  let context: BrokerContext
  private var plugins: PluginManager { context.plugins }
  private var registry: PluginRegistry { context.plugins.registry }

  init(context: BrokerContext) { self.context = context }

  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "List": context.admin.unary(call, principal, list)
    case "Describe": context.admin.unary(call, principal, describe)
    case "Install": InstallHandler(call: call, context: context, principal: principal)
    case "Enable": context.admin.unary(call, principal, enable)
    case "Disable": context.admin.unary(call, principal, disable)
    case "Remove": context.admin.unary(call, principal, remove)
    case "Grant": context.admin.unary(call, principal, grant)
    case "Release": context.admin.unary(call, principal, release)
    case "ListKeys": context.admin.unary(call, principal, listKeys)
    case "AddKey": context.admin.unary(call, principal, addKey)
    case "RemoveKey": context.admin.unary(call, principal, removeKey)
    default: PartitionerService(context: context).handler(method: method, call: call, principal: principal)
    }
  }

  // MARK: Looking

  @Sendable private func list(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try ListPluginsRequest(decoding: message)
    let known = PluginKind.allCases.map(\.word)
    guard request.kind.isEmpty || known.contains(request.kind) else {
      let text =
        "\"\(request.kind.displayable)\" is no kind of plug-in; known: \(known.joined(separator: ", "))\(NearestWord.hint(for: request.kind, in: known))"
      throw Fault(.invalidRequest, text, violations: [.init(field: "kind", description: text)])
    }
    var plugins = BuiltInPartitioner.allCases.map { context.summary(of: $0) }
    var budget = BrokerContext.listedBytes
    for entry in try await registry.list() {
      let (summary, manifest, _) = await context.summary(of: entry, within: budget)
      plugins.append(summary)
      budget -=
        manifest?.manifest.artifacts.first { $0.sha256 == entry.sha256 && $0.size <= budget }?.size ?? 0
    }
    return ListPluginsResponse(
      plugins: plugins.filter { request.kind.isEmpty || $0.kinds.contains(request.kind) }
    ).encoded()
  }

  @Sendable private func describe(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DescribePluginRequest(decoding: message)
    if request.version.isEmpty, let builtIn = BuiltInPartitioner(rawValue: request.id) {
      return DescribePluginResponse(
        plugin: context.summary(of: builtIn), publisher: "Skein", usedBy: context.users(of: builtIn)
      ).encoded()
    }
    let reference = try PluginReference(id: request.id, version: request.version)
    let entry = try await registry.entry(reference)
    let (summary, manifest, problem) = await context.summary(of: entry)
    var answer = DescribePluginResponse(
      plugin: summary, keyID: entry.keyID, usedBy: plugins.uses(of: reference), problem: problem?.status)
    if let manifest {
      answer.manifest = String(decoding: manifest.bytes, as: UTF8.self)
      answer.publisher = manifest.manifest.publisher
    }
    if let condition = plugins.runner.condition(of: reference, sha256: entry.sha256) {
      answer.calls = condition.calls
      answer.records = condition.records
      answer.faults = condition.faults
      answer.restarts = UInt32(clamping: condition.restarts)
      answer.strikes = UInt32(clamping: condition.strikes)
      answer.processID = condition.processID
      answer.nanosecondsPerRecord = condition.nanosecondsPerRecord
      answer.recentFaults = condition.recentFaults.suffix(20).map {
        PluginFault(atMs: $0.atMilliseconds, kind: $0.kind, detail: $0.detail, usedBy: $0.usedBy)
      }
    }
    return answer.encoded()
  }

  // MARK: Changing

  @Sendable private func enable(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try EnablePluginRequest(decoding: message)
    let entry = try await registry.setEnabled(
      try PluginReference(id: request.id, version: request.version), true)
    audit("plugin enabled", principal, entry)
    return EnablePluginResponse(plugin: await context.summary(of: entry).summary).encoded()
  }

  @Sendable private func disable(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DisablePluginRequest(decoding: message)
    let entry = try await registry.setEnabled(
      try PluginReference(id: request.id, version: request.version), false)
    audit("plugin disabled", principal, entry)
    return DisablePluginResponse(plugin: await context.summary(of: entry).summary).encoded()
  }

  @Sendable private func remove(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try RemovePluginRequest(decoding: message)
    let reference = try PluginReference(id: request.id, version: request.version)
    let plugins = plugins
    // An instance whose last user has just gone ends within moments: that is not worth a refusal.
    for _ in 0..<20 where plugins.uses(of: reference).isEmpty && !plugins.holders(of: reference).isEmpty {
      try await Task.sleep(for: .milliseconds(100), clock: .continuous)
    }
    let sha256 = try await registry.remove(reference) { plugins.holders(of: $0) }
    context.audit("plugin removed", by: principal, ["plugin": reference.description, "sha256": sha256])
    return RemovePluginResponse().encoded()
  }

  @Sendable private func grant(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try GrantPluginRequest(decoding: message)
    var grants: Set<PluginGrant> = []
    for word in request.grants {
      guard let grant = PluginGrant(rawValue: word) else {
        let known = PluginGrant.allCases.map(\.rawValue)
        let text =
          "\"\(word.displayable)\" is no grant; known: \(known.joined(separator: ", "))\(NearestWord.hint(for: word, in: known))"
        throw Fault(.invalidRequest, text, violations: [.init(field: "grants", description: text)])
      }
      grants.insert(grant)
    }
    let entry = try await registry.setGrants(
      try PluginReference(id: request.id, version: request.version), grants)
    audit("plugin grants changed", principal, entry)
    return GrantPluginResponse(plugin: await context.summary(of: entry).summary).encoded()
  }

  @Sendable private func release(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try ReleasePluginRequest(decoding: message)
    let entry = try await registry.entry(try PluginReference(id: request.id, version: request.version))
    try plugins.runner.release(entry.sha256)
    audit("plugin released", principal, entry)
    return ReleasePluginResponse(plugin: await context.summary(of: entry).summary).encoded()
  }

  private func audit(_ what: String, _ principal: Principal, _ entry: CatalogueEntry) {
    context.audit(
      "\(what)", by: principal,
      [
        "plugin": entry.reference.description, "sha256": entry.sha256,
        "grants": entry.grants.map(\.rawValue).sorted().joined(separator: ","),
      ])
  }

  // MARK: Keys

  @Sendable private func listKeys(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    _ = try ListPluginKeysRequest(decoding: message)
    return ListPluginKeysResponse(keys: try await registry.keys().map(PluginKey.init)).encoded()
  }

  @Sendable private func addKey(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try AddPluginKeyRequest(decoding: message)
    let key = try await registry.addKey(name: request.name, pem: request.pem, by: principal.name)
    context.audit("plugin key trusted", by: principal, ["key_id": key.id, "name": key.name])
    return AddPluginKeyResponse(key: PluginKey(key)).encoded()
  }

  @Sendable private func removeKey(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try RemovePluginKeyRequest(decoding: message)
    let plugins = plugins
    let key = try await registry.removeKey(request.keyID) { plugins.uses(of: $0) }
    context.audit("plugin key removed", by: principal, ["key_id": key.id, "name": key.name])
    return RemovePluginKeyResponse().encoded()
  }
}

extension PluginKey {
  fileprivate init(_ key: TrustedKey) {
    self.init(
      keyID: key.id, name: key.name, pem: key.pem, addedMs: key.addedMilliseconds, addedBy: key.addedBy,
      trust: key.level.rawValue)
  }
}
