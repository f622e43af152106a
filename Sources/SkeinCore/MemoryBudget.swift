import Synchronization

/// One bounded account of memory, in bytes, shared by everything that buffers for clients.
///
/// What is *reserved* is charged, not only what is held (protocol.md, stream rule 2), so the sum of
/// promises never exceeds the limit. When a reservation is refused the caller throttles: it stops
/// reading, grants no credit, or answers RESOURCE_EXHAUSTED. Threading: any thread, lock-free.
public final class MemoryBudget: Sendable {
  /// Bytes that may be reserved at once.
  public let limit: Int
  private let used = Atomic<Int>(0)

  public init(limit: Int) { self.limit = limit }

  /// Bytes reserved now.
  public var reserved: Int { used.load(ordering: .relaxed) }

  /// A charge that is given back when it ends. Keep it with the memory that it pays for.
  public final class Reservation: Sendable {
    private let budget: MemoryBudget
    public let bytes: Int

    fileprivate init(budget: MemoryBudget, bytes: Int) {
      self.budget = budget
      self.bytes = bytes
    }

    deinit { budget.used.subtract(bytes, ordering: .relaxed) }
  }

  /// Reserves `bytes`, or returns nil when that would exceed the limit.
  public func reserve(_ bytes: Int) -> Reservation? {
    precondition(bytes >= 0)
    var current = used.load(ordering: .relaxed)
    while true {
      guard bytes <= limit - current else { return nil }
      let (exchanged, original) = used.weakCompareExchange(
        expected: current, desired: current + bytes, ordering: .relaxed)
      if exchanged { return Reservation(budget: self, bytes: bytes) }
      current = original
    }
  }
}
