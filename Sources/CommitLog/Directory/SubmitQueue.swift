internal import SkeinCore
internal import Synchronization

/// The bounded way from the partitions' home executors to the flusher (R48).
///
/// Room is reserved before an append changes anything and given back when its group is durable, so
/// a refused append is definitely not applied. Threading: any thread.
final class SubmitQueue: Sendable {
  let maxBytes: Int
  let maxEntries: Int
  private let reservedBytes = Atomic<Int>(0)
  private let reservedEntries = Atomic<Int>(0)
  private let waiting = Mutex<[PendingEntry]>([])

  init(maxBytes: Int, maxEntries: Int) {
    self.maxBytes = maxBytes
    self.maxEntries = maxEntries
  }

  var bytes: Int { reservedBytes.load(ordering: .relaxed) }
  var isEmpty: Bool { waiting.withLock { $0.isEmpty } }

  /// Takes room for one entry; false when the queue is full. An empty queue accepts any size.
  func reserve(_ bytes: Int) -> Bool {
    let before = reservedBytes.add(bytes, ordering: .relaxed).oldValue
    let entries = reservedEntries.add(1, ordering: .relaxed).oldValue
    if before == 0 || before + bytes <= maxBytes && entries < maxEntries { return true }
    release(bytes: bytes, entries: 1)
    return false
  }

  /// Takes room although there may be none.
  func charge(_ bytes: Int) {
    reservedBytes.add(bytes, ordering: .relaxed)
    reservedEntries.add(1, ordering: .relaxed)
  }

  func release(bytes: Int, entries: Int) {
    reservedBytes.subtract(bytes, ordering: .relaxed)
    reservedEntries.subtract(entries, ordering: .relaxed)
  }

  func canAccept(_ bytes: Int) -> Bool {
    let used = reservedBytes.load(ordering: .relaxed)
    return used == 0
      || used + bytes <= maxBytes && reservedEntries.load(ordering: .relaxed) < maxEntries
  }

  /// Hands over entries whose room was reserved, in order.
  func submit(_ entries: [PendingEntry]) {
    waiting.withLock { $0.append(contentsOf: entries) }
  }

  /// Everything that waits.
  func takeAll() -> [PendingEntry] {
    waiting.withLock { list in
      var taken: [PendingEntry] = []
      swap(&taken, &list)
      return taken
    }
  }
}
