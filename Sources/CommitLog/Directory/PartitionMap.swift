internal import SkeinCore
internal import Synchronization

/// The partitions of a directory. Threading: any thread.
final class PartitionMap: Sendable {
  /// Of everything that this process appends (R22).
  let leaderEpoch: Int32
  private struct State {
    var logs: [TopicPartition: PartitionLog]
    /// Sorted; nil after a change. Upkeep walks it every second.
    var inOrder: [PartitionLog]?
  }
  private let state: Mutex<State>

  init(leaderEpoch: Int32, logs: [TopicPartition: PartitionLog]) {
    self.leaderEpoch = leaderEpoch
    self.state = Mutex(State(logs: logs, inOrder: nil))
  }

  /// In the order of their keys, so that what depends on it is deterministic.
  var all: [PartitionLog] {
    state.withLock { state in
      if let known = state.inOrder { return known }
      let sorted = state.logs.values.sorted { $0.key < $1.key }
      state.inOrder = sorted
      return sorted
    }
  }

  subscript(key: TopicPartition) -> PartitionLog? { state.withLock { $0.logs[key] } }

  /// The partition, made by `make` if it is new.
  func findOrInsert(_ key: TopicPartition, make: () -> PartitionLog) -> PartitionLog {
    state.withLock { state in
      if let found = state.logs[key] { return found }
      let made = make()
      state.logs[key] = made
      state.inOrder = nil
      return made
    }
  }

  /// Takes out the partitions of the topics that `matches`, in the order of their keys.
  func remove(where matches: (TopicID) -> Bool) -> [PartitionLog] {
    state.withLock { state in
      let keys = state.logs.keys.filter { matches($0.topic) }.sorted()
      if !keys.isEmpty { state.inOrder = nil }
      return keys.compactMap { state.logs.removeValue(forKey: $0) }
    }
  }
}
