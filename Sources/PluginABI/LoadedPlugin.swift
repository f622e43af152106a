package import CSkeinPlugin
internal import CSkeinShims

/// An image in this process, its entry called once and its identity checked. Never unloaded: dlclose of Swift plug-ins
/// kills the host (plugins.md, B2). Any thread.
package final class LoadedPlugin: @unchecked Sendable {
  // Safe between threads: immutable after init; tables of a plug-in never change (skein_plugin.h, `get`).
  package let id: String
  package let version: String
  package let abiMinor: UInt32
  package let services: HostServices
  private let plugin: skein_plugin

  /// Loads what `image` holds. Its constructors run here, and `skein_plugin_entry`: whatever they do happens to this
  /// process. Leaks one reference to `image`, on purpose.
  /// - Parameters:
  ///   - id, version: of the manifest; nil: any.
  package static func load(
    _ image: SealedImage, id: String?, version: String?, services: HostServices
  ) throws(LoadRefusal) -> LoadedPlugin {
    _ = Unmanaged.passRetained(image)
    return try load(descriptor: image.descriptor, id: id, version: version, services: services)
  }

  /// - Parameter descriptor: never closed again.
  package static func load(
    descriptor: Int32, id: String?, version: String?, services: HostServices
  ) throws(LoadRefusal) -> LoadedPlugin {
    var why = [CChar](repeating: 0, count: 512)
    guard let symbol = skein_load(descriptor, &why, why.count) else {
      throw LoadRefusal(.load, "the loader refuses it: \(text(why))")
    }
    typealias Entry = @convention(c) (UnsafePointer<skein_host>?) -> UnsafePointer<skein_plugin>?
    let entry = unsafeBitCast(symbol, to: Entry.self)
    guard let table = entry(services.pointer) else {
      throw LoadRefusal(
        .entry, "skein_plugin_entry gave NULL: this host is of no use to it (a missing service?)")
    }
    let plugin = adopt(table, zero: skein_plugin())
    guard let rawID = plugin.id, let rawVersion = plugin.version, plugin.get != nil else {
      throw LoadRefusal(
        .table, "its skein_plugin table of \(plugin.size) bytes has no id, version or get; was `size` set?")
    }
    let loaded = LoadedPlugin(plugin, rawID, rawVersion, services)
    if let id, id != loaded.id {
      throw LoadRefusal(.identity, "it calls itself \(loaded.id.prefix(120)), the manifest says \(id)")
    }
    if let version, version != loaded.version {
      throw LoadRefusal(
        .identity, "it says that it is version \(loaded.version.prefix(60)), the manifest says \(version)")
    }
    return loaded
  }

  private init(
    _ plugin: skein_plugin, _ id: UnsafePointer<CChar>, _ version: UnsafePointer<CChar>,
    _ services: HostServices
  ) {
    self.plugin = plugin
    self.id = String(cString: id)
    self.version = String(cString: version)
    abiMinor = plugin.abi_minor
    self.services = services
  }

  /// Whether it has a table for the ABI's id of a kind.
  package func has(_ kind: String) -> Bool { plugin.get?(kind) != nil }

  /// The partitioner's table.
  package func partitioner() throws(LoadRefusal) -> skein_partitioner {
    let table = adopt(try rawTable(SKEIN_PARTITIONER), zero: skein_partitioner())
    guard table.ops.create != nil, table.ops.destroy != nil, table.batch != nil else {
      throw missing(SKEIN_PARTITIONER, table.size, "create, destroy and batch")
    }
    return table
  }

  package func authenticator() throws(LoadRefusal) -> skein_authenticator {
    let table = adopt(try rawTable(SKEIN_AUTHENTICATOR), zero: skein_authenticator())
    guard table.ops.create != nil, table.ops.destroy != nil, table.step != nil else {
      throw missing(SKEIN_AUTHENTICATOR, table.size, "create, destroy and step")
    }
    return table
  }

  package func offsetStore() throws(LoadRefusal) -> skein_offset_store {
    let table = adopt(try rawTable(SKEIN_OFFSET_STORE), zero: skein_offset_store())
    guard table.ops.create != nil, table.ops.destroy != nil, table.commit != nil, table.fetch != nil,
      table.scan != nil, table.remove != nil
    else {
      throw missing(SKEIN_OFFSET_STORE, table.size, "create, destroy, commit, fetch, scan and remove")
    }
    return table
  }

  private func rawTable(_ kind: String) throws(LoadRefusal) -> UnsafeRawPointer {
    guard let table = plugin.get?(kind) else {
      throw LoadRefusal(.kind, "it has no table for \(kind), which its manifest names")
    }
    return table
  }

  private func missing(_ kind: String, _ size: UInt32, _ what: String) -> LoadRefusal {
    LoadRefusal(.table, "its table for \(kind) of \(size) bytes must have \(what)")
  }

  private static func text(_ buffer: [CChar]) -> String {
    String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

/// One instance of a loaded plug-in: `create` in init, `destroy` once. The kinds' calls are in extensions.
///
/// `create`, `quiesce` and `destroy` are [control]: their caller makes sure that they come one at a time.
/// Safe between threads: immutable after init, but for `isDestroyed`, which only control calls touch.
package final class LoadedInstance: @unchecked Sendable {
  package let number: UInt64
  package let plugin: LoadedPlugin
  package let tables: KindTable
  package let pointer: UnsafeMutableRawPointer?
  private var isDestroyed = false

  /// A kind's table, as adopted.
  package enum KindTable {
    case partitioner(skein_partitioner)
    case authenticator(skein_authenticator)
    case offsetStore(skein_offset_store)

    package var ops: skein_instance_ops {
      switch self {
      case .partitioner(let table): table.ops
      case .authenticator(let table): table.ops
      case .offsetStore(let table): table.ops
      }
    }

    package var flags: UInt32 {
      switch self {
      case .partitioner(let table): table.flags
      case .authenticator(let table): table.flags
      case .offsetStore(let table): table.flags
      }
    }
  }

  /// Makes an instance.
  /// - Parameters:
  ///   - number: names it to the host's services; not 0, never used twice in this process.
  ///   - config: one JSON object.
  package init(
    _ plugin: LoadedPlugin, kind: String, number: UInt64, config: [UInt8], members: ConfigTable
  ) throws(LoadRefusal) {
    self.plugin = plugin
    self.number = number
    switch kind {
    case SKEIN_PARTITIONER: tables = .partitioner(try plugin.partitioner())
    case SKEIN_AUTHENTICATOR: tables = .authenticator(try plugin.authenticator())
    case SKEIN_OFFSET_STORE: tables = .offsetStore(try plugin.offsetStore())
    default: throw LoadRefusal(.kind, "\(kind) is no kind that this host knows")
    }
    plugin.services.setConfig(members, instance: number)
    var made: UnsafeMutableRawPointer?
    var why = skein_bytes()
    let create = tables.ops.create
    let status = config.withUnsafeBytes { bytes in
      create?(plugin.services.pointer, number, skein_bytes(bytes), &made, &why) ?? SKEIN_UNSUPPORTED
    }
    pointer = made
    guard status == SKEIN_OK else {
      let said = String(decoding: why.buffer.prefix(1_000), as: UTF8.self)
      plugin.services.setConfig(nil, instance: number)
      plugin.services.metrics.forget(instance: number)
      throw LoadRefusal(
        status == SKEIN_BAD_CONFIG ? .config : .create,
        said.isEmpty ? "create ended with \(Self.word(status)) and no reason" : said)
    }
  }

  /// [control] Asks it to finish; it ends by completing `call`. False: it has no such function, nothing is open.
  package func quiesce(_ call: UInt64) -> Bool {
    guard let quiesce = tables.ops.quiesce else { return false }
    plugin.services.calls.begin(call)
    quiesce(pointer, call)
    return true
  }

  /// [control] The last call.
  package func destroy() {
    guard !isDestroyed else { return }
    isDestroyed = true
    tables.ops.destroy?(pointer)
    plugin.services.setConfig(nil, instance: number)
    plugin.services.metrics.forget(instance: number)
  }

  package static func word(_ status: Int32) -> String {
    switch status {
    case SKEIN_OK: "ok"
    case SKEIN_FAILED: "failed"
    case SKEIN_CANCELLED: "cancelled"
    case SKEIN_RETRY_LATER: "retry later"
    case SKEIN_DENIED: "denied"
    case SKEIN_BAD_CONFIG: "bad config"
    case SKEIN_UNSUPPORTED: "unsupported"
    default: "status \(status), which the ABI does not know"
    }
  }
}
