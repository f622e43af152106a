/// A queue in one array: amortised constant time at both ends, no allocation once it has grown.
///
/// It holds what waits inside the SDK (sealed batches, fetched chunks); whoever owns one bounds it.
struct FIFO<Element> {
  private var storage: [Element?] = []
  private var head = 0

  var count: Int { storage.count - head }
  var isEmpty: Bool { count == 0 }
  var first: Element? { isEmpty ? nil : storage[head] }

  /// The element `index` places behind the first.
  subscript(index: Int) -> Element {
    // From `head` on every place is filled; an index outside traps, as an array's does.
    get { storage[head + index]! }
    // As above.
    _modify { yield &storage[head + index]! }
  }

  func contains(where predicate: (Element) -> Bool) -> Bool {
    storage[head...].contains { $0.map(predicate) ?? false }
  }

  mutating func append(_ element: Element) { storage.append(element) }

  /// Puts an element before the first.
  mutating func prepend(_ element: Element) {
    if head > 0 {
      head -= 1
      storage[head] = element
    } else {
      storage.insert(element, at: 0)
    }
  }

  mutating func popFirst() -> Element? {
    guard !isEmpty else { return nil }
    let element = storage[head]
    storage[head] = nil
    head += 1
    if head == storage.count {
      storage.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 64, head * 2 >= storage.count {
      // The dead half is dropped, so each element is moved at most once per doubling.
      storage.removeFirst(head)
      head = 0
    }
    return element
  }

  /// Takes everything out, in order.
  mutating func drain() -> [Element] {
    let all = storage[head...].compactMap { $0 }
    storage.removeAll()
    head = 0
    return all
  }

  /// Keeps the elements for which `isKept` says so, in order, and returns the others, in order.
  mutating func partition(keeping isKept: (Element) -> Bool) -> [Element] {
    var removed: [Element] = []
    var kept: [Element?] = []
    for case let element? in storage[head...] {
      if isKept(element) { kept.append(element) } else { removed.append(element) }
    }
    storage = kept
    head = 0
    return removed
  }
}

extension FIFO: Sendable where Element: Sendable {}
