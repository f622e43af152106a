import CSkeinPlugin
import Foundation
import Testing

@testable import SkeinPluginKit

/// What Swift sees of the ABI is what was released. (What the C compiler sees: Deploy/check-plugin-header.sh.)
@Suite struct LayoutTests {
  /// One line a struct, one a field, as in the golden file.
  private struct Layout {
    var lines: [String] = []

    mutating func add<Table>(_ name: String, _ type: Table.Type, _ fields: [(String, PartialKeyPath<Table>)])
    {
      lines.append("\(name) \(MemoryLayout<Table>.size) \(MemoryLayout<Table>.alignment)")
      for (field, path) in fields {
        lines.append("  \(field) \(MemoryLayout<Table>.offset(of: path) ?? -1)")
      }
    }
  }

  @Test func swiftSeesTheReleasedLayout() throws {
    var seen = Layout()
    seen.add("skein_bytes", skein_bytes.self, [("ptr", \.ptr), ("len", \.len)])
    seen.add(
      "skein_host", skein_host.self,
      [("size", \.size), ("abi_minor", \.abi_minor), ("ctx", \.ctx), ("get", \.get)])
    seen.add("skein_host_log", skein_host_log.self, [("size", \.size), ("_pad", \._pad), ("write", \.write)])
    seen.add(
      "skein_host_config", skein_host_config.self, [("size", \.size), ("_pad", \._pad), ("lookup", \.lookup)])
    seen.add(
      "skein_host_metrics", skein_host_metrics.self,
      [("size", \.size), ("_pad", \._pad), ("define", \.define), ("record", \.record)])
    seen.add(
      "skein_host_async", skein_host_async.self,
      [("size", \.size), ("_pad", \._pad), ("complete", \.complete), ("is_cancelled", \.is_cancelled)])
    seen.add(
      "skein_instance_ops", skein_instance_ops.self,
      [("create", \.create), ("quiesce", \.quiesce), ("destroy", \.destroy)])
    seen.add(
      "skein_topic", skein_topic.self,
      [("size", \.size), ("partitions", \.partitions), ("weights", \.weights), ("id", \.id)])
    seen.add(
      "skein_records", skein_records.self,
      [
        ("size", \.size), ("count", \.count), ("keys", \.keys), ("timestamps", \.timestamps),
        ("header_names", \.header_names), ("_pad", \._pad), ("headers", \.headers),
      ])
    seen.add(
      "skein_partitioner", skein_partitioner.self,
      [("size", \.size), ("flags", \.flags), ("ops", \.ops), ("batch", \.batch)])
    seen.add(
      "skein_offset_store", skein_offset_store.self,
      [
        ("size", \.size), ("flags", \.flags), ("ops", \.ops), ("commit", \.commit), ("fetch", \.fetch),
        ("scan", \.scan), ("remove", \.remove), ("cancel", \.cancel),
      ])
    seen.add(
      "skein_peer", skein_peer.self,
      [
        ("size", \.size), ("certificates", \.certificates), ("chain", \.chain),
        ("server_name", \.server_name),
        ("address", \.address), ("tls_exporter", \.tls_exporter),
      ])
    seen.add(
      "skein_authenticator", skein_authenticator.self,
      [
        ("size", \.size), ("flags", \.flags), ("ops", \.ops), ("step", \.step), ("end", \.end),
        ("cancel", \.cancel),
      ])
    seen.add(
      "skein_plugin", skein_plugin.self,
      [("size", \.size), ("abi_minor", \.abi_minor), ("id", \.id), ("version", \.version), ("get", \.get)])

    let url = try #require(
      Bundle.module.url(forResource: "plugin-abi", withExtension: "txt", subdirectory: "Golden"))
    // A field's size is the C compiler's business: Swift's importer has the same types.
    let golden = try String(contentsOf: url, encoding: .utf8).split(separator: "\n").map { line in
      line.hasPrefix("  ") ? "  " + line.split(separator: " ").prefix(2).joined(separator: " ") : String(line)
    }
    #expect(seen.lines == golden)
  }

  @Test func theMarkIsTheHeaders() {
    #expect(abiMark == (0x314e_4b53, 1, SKEIN_ABI_MINOR, UInt32(8 * MemoryLayout<UnsafeRawPointer>.size)))
  }

  @Test func errorKindsHaveTheHeadersNumbers() {
    #expect(PluginError.Kind.failed.rawValue == SKEIN_FAILED)
    #expect(PluginError.Kind.cancelled.rawValue == SKEIN_CANCELLED)
    #expect(PluginError.Kind.retryLater.rawValue == SKEIN_RETRY_LATER)
    #expect(PluginError.Kind.denied.rawValue == SKEIN_DENIED)
    #expect(PluginError.Kind.badConfig.rawValue == SKEIN_BAD_CONFIG)
    #expect(PluginError.Kind.unsupported.rawValue == SKEIN_UNSUPPORTED)
  }
}
