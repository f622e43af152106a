internal import SkeinCore
internal import Synchronization

/// Indexes of sealed segments, loaded when first needed, bounded by bytes, least recently used
/// dropped first. Threading: any thread.
final class IndexCache: Sendable {
  struct Key: Hashable, Sendable {
    let partition: TopicPartition
    let base: Int64
    let generation: UInt32

    init(_ partition: TopicPartition, _ segment: Segment) {
      self.partition = partition
      base = segment.base
      generation = segment.generation
    }
  }
  private struct Slot {
    var index: SegmentIndex
    var lastUse: UInt64
  }
  private struct State {
    var slots: [Key: Slot] = [:]
    var bytes = 0
    var clock: UInt64 = 0
  }

  private let limit: Int
  private let state = Mutex(State())

  init(limit: Int) { self.limit = limit }

  func index(_ key: Key) -> SegmentIndex? {
    state.withLock { state in
      guard let found = state.slots.index(forKey: key) else { return nil }
      state.clock += 1
      state.slots.values[found].lastUse = state.clock
      return state.slots.values[found].index
    }
  }

  func insert(_ index: SegmentIndex, for key: Key) {
    state.withLock { state in
      state.clock += 1
      if let old = state.slots.updateValue(Slot(index: index, lastUse: state.clock), forKey: key) {
        state.bytes -= Self.cost(old.index)
      }
      state.bytes += Self.cost(index)
      while state.bytes > limit, state.slots.count > 1,
        let oldest = state.slots.min(by: { $0.value.lastUse < $1.value.lastUse })
      {
        state.slots.removeValue(forKey: oldest.key)
        state.bytes -= Self.cost(oldest.value.index)
      }
    }
  }

  func forget(_ key: Key) {
    state.withLock { state in
      if let old = state.slots.removeValue(forKey: key) { state.bytes -= Self.cost(old.index) }
    }
  }

  /// The slot itself is charged too, so that many empty indexes are bounded as well.
  private static func cost(_ index: SegmentIndex) -> Int { index.byteCount + 128 }
}
