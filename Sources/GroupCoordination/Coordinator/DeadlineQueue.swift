/// When to look at which member, as a binary heap. Moving a deadline back costs nothing: the member's own record is what
/// counts, and an entry that comes too early is put in again (heartbeats are frequent, expiries are rare).
struct DeadlineQueue: Sendable {
  struct Entry: Sendable {
    var time: Int64
    var group: GroupKey
    var member: String
  }

  private var heap: [Entry] = []

  var first: Int64? { heap.first?.time }

  mutating func insert(_ entry: Entry) {
    heap.append(entry)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].time < heap[parent].time else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  /// The earliest entry, if its time has come.
  mutating func pop(due now: Int64) -> Entry? {
    guard let first = heap.first, first.time <= now else { return nil }
    let last = heap.removeLast()
    if heap.isEmpty { return first }
    heap[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < heap.count else { break }
      if child + 1 < heap.count, heap[child + 1].time < heap[child].time { child += 1 }
      guard heap[child].time < heap[parent].time else { break }
      heap.swapAt(child, parent)
      parent = child
    }
    return first
  }
}
