import Synchronization

/// How many retries a channel may make: each costs one, ten successes earn one, and there are never more
/// than `limit`. Any thread, lock-free.
final class RetryBudget: Sendable {
  private static let cost = 10
  private let limit: Int
  private let tokens: Atomic<Int>

  init(limit: Int) {
    self.limit = max(0, limit) * Self.cost
    tokens = Atomic(self.limit)
  }

  /// False: no more retries now.
  func take() -> Bool {
    var current = tokens.load(ordering: .relaxed)
    while current >= Self.cost {
      let (done, seen) = tokens.weakCompareExchange(
        expected: current, desired: current - Self.cost, ordering: .relaxed)
      if done { return true }
      current = seen
    }
    return false
  }

  /// A call went well.
  func earn() {
    // Two at once may overshoot by one; the next `take` does not care.
    if tokens.load(ordering: .relaxed) < limit { tokens.add(1, ordering: .relaxed) }
  }
}
