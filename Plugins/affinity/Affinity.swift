public import CSkeinPlugin
import SkeinPluginKit

/// Records that belong together go to one partition: by a header, or by the first part of their key.
///
/// Configuration, at most one of:
/// - `{"header": "tenant"}`: by the value of that header, one of those in the manifest. A record without it goes by its
///   key.
/// - `{"separator": ":"}`: by the key up to the first separator, `customer-7` of `customer-7:order-9`. A key without one
///   goes by all of it. This is the default.
/// - `{"prefix_bytes": 4}`: by the first bytes of the key.
///
/// A record with neither header nor key goes where the host chooses.
struct Affinity: Partitioner {
  /// The manifest's `headers`, in its order.
  static let headers = ["tenant", "customer", "account", "session", "region", "affinity"]

  private struct Config: Decodable {
    var header: String?
    var separator: String?
    var prefix_bytes: Int?
  }

  private enum Rule {
    case header(Int)
    case separator(UInt8)
    case prefix(Int)
  }

  private let rule: Rule

  init(_ context: PluginContext) throws {
    let config = try context.config(Config.self)
    switch (config.header, config.separator, config.prefix_bytes) {
    case (let header?, nil, nil):
      guard let place = Self.headers.firstIndex(of: header) else {
        throw PluginError.badConfig(
          "header \"\(header)\" is none that this plug-in sees: give one of \(Self.headers.joined(separator: ", "))"
        )
      }
      rule = .header(place)
    case (nil, let separator?, nil):
      guard let byte = separator.utf8.first, separator.utf8.count == 1 else {
        throw PluginError.badConfig("separator is \"\(separator)\": give one ASCII character")
      }
      rule = .separator(byte)
    case (nil, nil, let bytes?):
      guard (1...1_024).contains(bytes) else {
        throw PluginError.badConfig("prefix_bytes is \(bytes): give 1 to 1024")
      }
      rule = .prefix(bytes)
    case (nil, nil, nil):
      rule = .separator(UInt8(ascii: ":"))
    default:
      throw PluginError.badConfig("give one of header, separator and prefix_bytes, not several")
    }
  }

  func partition(_ record: Record, of topic: TopicView) -> Int32 {
    guard let together = together(record) else { return .anyPartition }
    return topic.partition(forHash: StableHash.of(together))
  }

  /// The bytes that records of one kind have in common.
  private func together(_ record: Record) -> UnsafeRawBufferPointer? {
    switch rule {
    case .header(let place):
      return record.header(place) ?? record.key
    case .separator(let byte):
      guard let key = record.key else { return nil }
      guard let end = key.firstIndex(of: byte) else { return key }
      return UnsafeRawBufferPointer(rebasing: key[..<end])
    case .prefix(let bytes):
      return record.key.map { UnsafeRawBufferPointer(rebasing: $0.prefix(bytes)) }
    }
  }
}

@c @implementation
public func skein_plugin_entry(_ host: UnsafePointer<skein_host>?) -> UnsafePointer<skein_plugin>? {
  Plugin.export(host, "org.skein.affinity", "1.0.0", .partitioner(Affinity.self))
}
