import GroupCoordination
import SkeinCore

/// Where things are in the metadata store. Tenant first, so that a missing check fails closed.
struct MetadataKeys: Sendable {
  private let root: String

  init(cluster: String) { root = "/skein/\(cluster)" }

  var tenants: [UInt8] { Array("\(root)/t/".utf8) }
  var deletedTopics: [UInt8] { Array("\(root)/sys/deleted-topics/".utf8) }
  /// The next free producer id, as decimal text (P1).
  var producerIDs: [UInt8] { Array("\(root)/sys/producer-ids".utf8) }

  /// The catalogue of plug-ins and the keys that sign them.
  var plugins: [UInt8] { Array("\(root)/sys/plugins/".utf8) }

  func topic(_ name: String, of tenant: TenantName) -> [UInt8] {
    Array("\(root)/t/\(tenant.rawValue)/topics/\(name)".utf8)
  }

  func token(_ id: String, of tenant: TenantName) -> [UInt8] {
    Array("\(root)/t/\(tenant.rawValue)/tokens/\(id)".utf8)
  }

  /// In which store new groups of the tenant begin.
  func offsetStore(of tenant: String) -> [UInt8] { Array("\(root)/t/\(tenant)/offset-store".utf8) }

  /// Where one group keeps its offsets.
  func groupStore(_ group: GroupKey) -> [UInt8] {
    Array("\(root)/t/\(group.tenant)/group-stores/\(group.name)".utf8)
  }

  func deleted(_ id: TopicID) -> [UInt8] { deletedTopics + Array(id.description.utf8) }

  /// The tenant and name in a topic's key.
  func parseTopic(_ key: [UInt8]) -> (TenantName, String)? { parse(key, "topics") }

  /// The tenant and id in a token's key.
  func parseToken(_ key: [UInt8]) -> (TenantName, String)? { parse(key, "tokens") }

  /// The tenant in the key of its offset store.
  func parseOffsetStore(_ key: [UInt8]) -> String? {
    guard key.starts(with: tenants) else { return nil }
    let parts = key.dropFirst(tenants.count).split(separator: UInt8(ascii: "/"))
    guard parts.count == 2, parts[1].elementsEqual("offset-store".utf8) else { return nil }
    return String(decoding: parts[0], as: UTF8.self)
  }

  /// The group in the key of its offset store.
  func parseGroupStore(_ key: [UInt8]) -> GroupKey? {
    parse(key, "group-stores").map { GroupKey(tenant: $0.0.rawValue, name: $0.1) }
  }

  private func parse(_ key: [UInt8], _ kind: String) -> (TenantName, String)? {
    guard key.starts(with: tenants) else { return nil }
    let parts = key.dropFirst(tenants.count).split(separator: UInt8(ascii: "/"))
    guard parts.count == 3, parts[1].elementsEqual(kind.utf8) else { return nil }
    return (
      TenantName(rawValue: String(decoding: parts[0], as: UTF8.self)),
      String(decoding: parts[2], as: UTF8.self)
    )
  }
}
