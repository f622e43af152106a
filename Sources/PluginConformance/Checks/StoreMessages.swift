import SkeinCore
import Wire

/// Requests of offset stores and their answers, as the broker makes and reads them.
enum StoreMessages {
  static let tenant = "default"
  static let topic = "000102030405060708090a0b0c0d0e0f"

  static func commit(
    group: String, epoch: Int32, _ offsets: [(partition: Int32, offset: Int64)]
  ) -> [UInt8] {
    PluginCommitOffsets(
      tenant: tenant, group: group, memberEpoch: epoch,
      offsets: offsets.map {
        PluginStoredOffset(
          topicID: topic, partition: $0.partition, offset: $0.offset, metadata: "conformance", committedMs: 1,
          memberEpoch: epoch)
      }
    ).encoded()
  }

  static func fetch(group: String) -> [UInt8] {
    PluginFetchOffsets(tenant: tenant, group: group).encoded()
  }

  static func scan(token: String, limit: UInt32) -> [UInt8] {
    PluginScanOffsets(tenant: tenant, token: token, limit: limit).encoded()
  }

  static func remove(group: String) -> [UInt8] {
    PluginRemoveOffsets(tenant: tenant, group: group).encoded()
  }

  static func page(_ bytes: [UInt8]) throws -> PluginOffsetPage {
    do {
      return try PluginOffsetPage(decoding: SharedBytes(bytes))
    } catch {
      throw Broken("the result is no OffsetPage: \(error)", cure: "encode skein.plugin.v1.OffsetPage")
    }
  }
}
