import SkeinCore
import Synchronization

/// Pausing, resuming and seeking: what is queued of a partition is dropped and its credit given back, then the
/// stream is opened anew with other positions (the contract has no message for it). Nothing is lost or repeated:
/// a partition goes on after the last batch that the consumer took.
extension ReaderCore {
  func pause(_ partitions: [Int32]?) throws(SkeinError) {
    try change(partitions) { machine, at in
      guard !machine.slots[at].isPaused else { return false }
      machine.pause(at)
      return true
    }
  }

  func resume(_ partitions: [Int32]?) throws(SkeinError) {
    try change(partitions) { machine, at in
      guard machine.slots[at].isPaused else { return false }
      machine.resume(at)
      return true
    }
  }

  func seek(_ positions: [Int32: ReadPosition]) throws(SkeinError) {
    try change(Array(positions.keys)) { machine, at in
      guard let position = positions[machine.slots[at].partition] else { return false }
      machine.seek(at, to: position)
      return true
    }
  }

  /// The topic has so many partitions now; those that are new are read from their beginnings.
  func grow(to count: Int32) {
    let (restart, wanted) = state.withLock {
      state -> ((@Sendable () -> Void)?, CheckedContinuation<Void, Never>?) in
      guard !state.isClosed, state.machine.grow(to: count, limit: Reader.maxPartitions) else {
        return (nil, nil)
      }
      // What was received stays: only what is still on its way is asked for again.
      return Self.beginRestart(&state)
    }
    restart?()
    wanted?.resume()
  }

  /// Where the consumer is, by partition.
  var taken: [Int32: ReadPosition] {
    state.withLock { state in
      Dictionary(state.machine.slots.map { ($0.partition, $0.position) }) { first, _ in first }
    }
  }

  /// - Parameter body: changes one slot; returns whether it did.
  private func change(
    _ partitions: [Int32]?, _ body: (inout ReaderMachine, Int) -> Bool
  ) throws(SkeinError) {
    let (restart, wanted) = try state.withLock {
      (state) throws(SkeinError) -> ((@Sendable () -> Void)?, CheckedContinuation<Void, Never>?) in
      let named = partitions ?? state.machine.slots.map(\.partition)
      var slots: [Int] = []
      for partition in named {
        guard let at = state.machine.slot(partition) else {
          throw SkeinError(
            .partitionNotFound,
            "this reader does not read partition \(partition); it reads \(state.machine.slots.map(\.partition))",
            metadata: ["partition": String(partition)])
        }
        slots.append(at)
      }
      var changed: Set<Int32> = []
      for at in slots where body(&state.machine, at) { changed.insert(state.machine.slots[at].partition) }
      guard !changed.isEmpty else { return (nil, nil) }
      Self.drop(changed, &state)
      return Self.beginRestart(&state)
    }
    restart?()
    wanted?.resume()
  }

  /// What to call once the lock is released, so that a stream is opened anew from where the machine stands
  /// (nothing if there is none), and who waits for records and must look again.
  private static func beginRestart(
    _ state: inout State
  ) -> ((@Sendable () -> Void)?, CheckedContinuation<Void, Never>?) {
    defer { state.wanted = nil }
    if state.restart != nil { state.isRestarting = true }
    return (state.restart, state.wanted)
  }

  /// Everything received of these partitions and not taken.
  private static func drop(_ partitions: Set<Int32>, _ state: inout State) {
    if let (chunk, _) = state.current, partitions.contains(chunk.partition) { state.current = nil }
    let dropped = state.queue.partition { item in
      switch item {
      case .chunk(let chunk): !partitions.contains(chunk.partition)
      case .failure: true
      }
    }
    for case .chunk(let chunk) in dropped { state.machine.taken(chunk.charge) }
  }
}
