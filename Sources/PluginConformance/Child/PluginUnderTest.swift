import CSkeinPlugin
import Glibc
import PluginABI
import PluginPackage

/// A plug-in's file, mapped into this child, and its tables.
///
/// Beside PluginABI's loading, because the host is the check's own: with services left out, with tables of other
/// lengths. Loads through a sealed memory file, as the broker does, and never unloads. Confined to the child's main thread but
/// for what the ABI allows from any thread.
final class PluginUnderTest {
  let host: TestHost
  let handle: UnsafeMutableRawPointer
  let entry: skein_plugin
  let id: String
  let version: String

  private typealias Entry = @convention(c) (UnsafePointer<skein_host>?) -> UnsafePointer<skein_plugin>?

  /// - Parameter descriptor: of the sealed bytes. Kept open for ever: glibc knows a library by its name.
  init(descriptor: Int32, host: TestHost, doing: (String) -> Void) throws {
    self.host = host
    doing("dlopen, where constructors run")
    // By the process's number: /proc/self would be the same name in every check, and does not matter in one child.
    guard let handle = dlopen("/proc/self/fd/\(descriptor)", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) else {
      throw Broken(
        "the file cannot be loaded: \(Self.loaderError())",
        cure: "link everything that the plug-in needs into it, and try `ldd -r` on it")
    }
    self.handle = handle
    guard let symbol = dlsym(handle, "skein_plugin_entry") else {
      throw Broken(
        "there is no symbol skein_plugin_entry", cure: "define skein_plugin_entry with SKEIN_ENTRY before it")
    }
    doing("skein_plugin_entry")
    let function = unsafeBitCast(symbol, to: Entry.self)
    guard let table = function(host.host) else {
      throw Broken(
        "skein_plugin_entry gave NULL: the plug-in says that this host is of no use to it",
        cure: "name what it needs in the manifest's `requires`, and give a table on every host that has that")
    }
    entry = adopt(UnsafeRawPointer(table), zero: skein_plugin())
    guard let id = entry.id, let version = entry.version, entry.get != nil else {
      throw Broken(
        "the table of skein_plugin_entry has no id, version or get (size \(entry.size))",
        cure: "set size to sizeof(skein_plugin), and every field")
    }
    self.id = String(cString: id)
    self.version = String(cString: version)
  }

  private static func loaderError() -> String { dlerror().map { String(cString: $0) } ?? "no reason given" }

  func table(_ kind: PluginKind) -> UnsafeRawPointer? {
    entry.get(kind.rawValue).map { UnsafeRawPointer($0) }
  }

  func partitioner() throws -> skein_partitioner {
    let table = adopt(try present(.partitioner), zero: skein_partitioner())
    guard table.batch != nil else { throw missing("batch", of: .partitioner, size: table.size) }
    try checkOps(table.ops, .partitioner, size: table.size)
    return table
  }

  func offsetStore() throws -> skein_offset_store {
    let table = adopt(try present(.offsetStore), zero: skein_offset_store())
    guard table.commit != nil, table.fetch != nil, table.scan != nil, table.remove != nil, table.cancel != nil
    else { throw missing("commit, fetch, scan, remove or cancel", of: .offsetStore, size: table.size) }
    try checkOps(table.ops, .offsetStore, size: table.size)
    return table
  }

  func authenticator() throws -> skein_authenticator {
    let table = adopt(try present(.authenticator), zero: skein_authenticator())
    guard table.step != nil, table.end != nil, table.cancel != nil else {
      throw missing("step, end or cancel", of: .authenticator, size: table.size)
    }
    try checkOps(table.ops, .authenticator, size: table.size)
    return table
  }

  func ops(_ kind: PluginKind) throws -> skein_instance_ops {
    switch kind {
    case .partitioner: try partitioner().ops
    case .offsetStore: try offsetStore().ops
    case .authenticator: try authenticator().ops
    }
  }

  private func present(_ kind: PluginKind) throws -> UnsafeRawPointer {
    guard let table = table(kind) else {
      throw Broken(
        "get(\"\(kind.rawValue)\") gave NULL, but the manifest names the kind \(kind.word)",
        cure: "give the kind's table, or take the kind out of the manifest")
    }
    return table
  }

  private func checkOps(_ ops: skein_instance_ops, _ kind: PluginKind, size: UInt32) throws {
    guard ops.create != nil, ops.destroy != nil else {
      throw missing("create or destroy", of: kind, size: size)
    }
  }

  private func missing(_ what: String, of kind: PluginKind, size: UInt32) -> Broken {
    Broken(
      "the table of \(kind.rawValue) has no \(what) (its size is \(size))",
      cure: "set size to the sizeof of the table's struct, and every function")
  }
}
