import SkeinCore
import Wire

extension SubscribeHandler {
  /// Partitions in one heartbeat, at most; those of larger members take turns.
  static let lagsPerHeartbeat = 1_000

  /// How far the member's partitions are behind.
  func lag() -> [PartitionLag] {
    return []
  }
}
