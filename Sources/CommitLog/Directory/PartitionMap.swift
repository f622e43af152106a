internal import SkeinCore
internal import Synchronization

/// The partitions of a directory. Threading: any thread.
final class PartitionMap: Sendable {
  /// Of everything that this process appends (R22).
  let leaderEpoch: Int32
  private let logs: Mutex<[TopicPartition: PartitionLog]>

  init(leaderEpoch: Int32, logs: [TopicPartition: PartitionLog]) {
    self.leaderEpoch = leaderEpoch
    self.logs = Mutex(logs)
  }

  /// In the order of their keys, so that what depends on it is deterministic.
  var all: [PartitionLog] {
    logs.withLock { Array($0.values) }.sorted { $0.key < $1.key }
  }

  subscript(key: TopicPartition) -> PartitionLog? { logs.withLock { $0[key] } }

  /// The partition, made by `make` if it is new.
  func findOrInsert(_ key: TopicPartition, make: () -> PartitionLog) -> PartitionLog {
    logs.withLock { logs in
      if let found = logs[key] { return found }
      let made = make()
      logs[key] = made
      return made
    }
  }

  /// Takes out the partitions of the topics that `matches`, in the order of their keys.
  func remove(where matches: (TopicID) -> Bool) -> [PartitionLog] {
    logs.withLock { logs in
      let keys = logs.keys.filter { matches($0.topic) }.sorted()
      return keys.compactMap { logs.removeValue(forKey: $0) }
    }
  }
}
