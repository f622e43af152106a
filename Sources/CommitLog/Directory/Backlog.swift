internal import SkeinCore
internal import Synchronization

/// What the flusher hands to the write-behind thread. Threading: any thread.
final class Backlog: Sendable {
  struct Taken {
    /// Partitions with durable batches or a new log start.
    var dirty: [PartitionStore]
    /// Everything in the journal up to here belongs to these partitions or to rounds before.
    var cut: JournalPosition
    var deletedTopics: [TopicID]
    var recycleRequested: Bool
    /// Damaged partitions whose loss an operator accepted.
    var accepted: [PartitionStore]
    /// What the cleaner asks for.
    var orders: [CleanerOrder]
  }

  private struct State {
    var dirty: [PartitionStore] = []
    var cut = JournalPosition.start
    var deletedTopics: [TopicID] = []
    var roundRequested = false
    var recycleRequested = false
    var accepted: [PartitionStore] = []
    var orders: [CleanerOrder] = []
  }

  private let state = Mutex(State())

  /// Flusher, after a sync: these partitions have news, and the journal is durable up to `cut`.
  func publish(dirty: [PartitionStore], deletedTopics: [TopicID], cut: JournalPosition) {
    state.withLock { state in
      state.dirty.append(contentsOf: dirty)
      state.deletedTopics.append(contentsOf: deletedTopics)
      state.cut = max(state.cut, cut)
    }
  }

  /// Any thread: begin a round soon although little waits; with `recycle` also end it with a
  /// checkpoint.
  func request(recycle: Bool) {
    state.withLock { state in
      state.roundRequested = true
      if recycle { state.recycleRequested = true }
    }
  }

  /// Any thread: cut the damage out of this partition, then serve it again.
  func accept(_ store: PartitionStore) {
    state.withLock { state in
      state.accepted.append(store)
      state.roundRequested = true
      state.recycleRequested = true
    }
  }

  /// The cleaner: settle this soon.
  func order(_ order: CleanerOrder) {
    state.withLock { state in
      state.orders.append(order)
      state.roundRequested = true
    }
  }

  var isRequested: Bool { state.withLock { $0.roundRequested } }
  var hasDirty: Bool { state.withLock { !$0.dirty.isEmpty } }

  /// Write-behind: everything that waits.
  func take() -> Taken {
    state.withLock { state in
      let taken = Taken(
        dirty: state.dirty, cut: state.cut, deletedTopics: state.deletedTopics,
        recycleRequested: state.recycleRequested, accepted: state.accepted,
        orders: state.orders)
      state.dirty = []
      state.deletedTopics = []
      state.accepted = []
      state.orders = []
      state.roundRequested = false
      state.recycleRequested = false
      return taken
    }
  }
}
