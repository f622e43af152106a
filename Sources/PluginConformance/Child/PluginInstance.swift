import CSkeinPlugin
import PluginPackage

/// One instance of a loaded plug-in. `destroy` ends it; nothing is done by `deinit`, because a check decides when.
final class PluginInstance {
  let plugin: PluginUnderTest
  let ops: skein_instance_ops
  let number: UInt64
  let pointer: UnsafeMutableRawPointer?

  private init(
    _ plugin: PluginUnderTest, _ ops: skein_instance_ops, _ number: UInt64,
    _ pointer: UnsafeMutableRawPointer?
  ) {
    self.plugin = plugin
    self.ops = ops
    self.number = number
    self.pointer = pointer
  }

  enum Creation {
    case made(PluginInstance)
    /// With the plug-in's `why`.
    case refused(skein_status, why: [UInt8])
  }

  /// Calls `create`. The configuration lies against an unreadable page, without a NUL behind it.
  static func create(
    _ plugin: PluginUnderTest, _ kind: PluginKind, config: String, number: UInt64, doing: (String) -> Void
  ) throws -> Creation {
    let ops = try plugin.ops(kind)
    let bytes = Array(config.utf8)
    plugin.host.setConfig(config, of: number)
    guard let buffer = GuardedBuffer(count: bytes.count) else { throw Broken("no memory", cure: "free some") }
    defer { buffer.unmap() }
    bytes.withUnsafeBytes {
      if let base = $0.baseAddress { buffer.base.copyMemory(from: base, byteCount: $0.count) }
    }
    buffer.makeReadOnly()
    var pointer: UnsafeMutableRawPointer?
    var why = skein_bytes()
    doing("create with the configuration \(config.prefix(200))")
    let json = skein_bytes(
      ptr: UnsafePointer(buffer.base.assumingMemoryBound(to: UInt8.self)), len: bytes.count)
    let status = ops.create(plugin.host.host, number, json, &pointer, &why)
    if status == SKEIN_OK { return .made(PluginInstance(plugin, ops, number, pointer)) }
    plugin.host.forgetInstance(number)
    let text = why.ptr.map { Array(UnsafeBufferPointer(start: $0, count: min(why.len, 4_096))) } ?? []
    return .refused(status, why: text)
  }

  func destroy(doing: (String) -> Void) {
    doing("destroy")
    ops.destroy(pointer)
    plugin.host.forgetInstance(number)
  }
}
