public import CSkeinPlugin

/// The entry of a plug-in. One line makes a module a plug-in:
///
/// ```swift
/// @c @implementation public func skein_plugin_entry(_ host: UnsafePointer<skein_host>?) -> UnsafePointer<skein_plugin>? {
///   Plugin.export(host, "com.acme.sticky", "1.2.0", .partitioner(Sticky.self))
/// }
/// ```
///
/// The kit is linked into each plug-in statically, so what it keeps for the process it keeps for this one plug-in.
public enum Plugin {
  /// One kind that a plug-in implements: `.partitioner(T.self)`, `.offsetStore(T.self)`, `.authenticator(T.self)`.
  public struct Kind {
    /// The ABI's id, with its major version.
    let id: String
    /// The table; lives until the process ends.
    let table: UnsafeRawPointer

    /// Copies the table to where it stays.
    init<Table: BitwiseCopyable>(_ id: String, _ table: Table) {
      self.id = id
      self.table = Plugin.keep(table)
    }
  }

  // Written once by `export`, which the host calls once and before anything else; read only after that.
  nonisolated(unsafe) private static var exported: UnsafePointer<skein_plugin>?
  nonisolated(unsafe) private static var kinds: [Kind] = []

  /// What `skein_plugin_entry` returns. Never a second time with anything else: the host calls it once a file.
  ///
  /// - Parameters:
  ///   - id: as in the manifest, a reverse domain name: "com.acme.sticky".
  ///   - version: as in the manifest: "1.2.0".
  public static func export(
    _ host: UnsafePointer<skein_host>?, _ id: StaticString, _ version: StaticString, _ kinds: Kind...
  ) -> UnsafePointer<skein_plugin>? {
    if let exported { return exported }
    self.kinds = kinds
    var plugin = skein_plugin()
    plugin.size = UInt32(MemoryLayout<skein_plugin>.size)
    plugin.abi_minor = SKEIN_ABI_MINOR
    plugin.id = text(id)
    plugin.version = text(version)
    plugin.get = { wanted in
      guard let wanted else { return nil }
      let id = String(cString: wanted)
      return Plugin.kinds.first { $0.id == id }?.table
    }
    let kept = keep(plugin).assumingMemoryBound(to: skein_plugin.self)
    exported = kept
    return kept
  }

  /// A value in memory that is never freed.
  private static func keep<Value: BitwiseCopyable>(_ value: Value) -> UnsafeRawPointer {
    let memory = UnsafeMutablePointer<Value>.allocate(capacity: 1)
    memory.initialize(to: value)
    return UnsafeRawPointer(memory)
  }

  private static func text(_ string: StaticString) -> UnsafePointer<CChar> {
    let utf8 = Array(String(describing: string).utf8CString)
    let memory = UnsafeMutablePointer<CChar>.allocate(capacity: utf8.count)
    memory.initialize(from: utf8, count: utf8.count)
    return UnsafePointer(memory)
  }
}
