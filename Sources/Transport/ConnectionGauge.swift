import Synchronization

/// What a pool wants to know of a connection without going to its loop. Any thread, lock-free.
final class ConnectionGauge: Sendable {
  private let usable = Atomic<Bool>(true)
  private let open = Atomic<Int>(0)
  private let assigned = Atomic<Int>(0)
  private let streams = Atomic<Int>(.max)

  /// False once no new call can be opened.
  var isUsable: Bool { usable.load(ordering: .relaxed) }
  /// Calls that run, and those that are on their way to the loop.
  var calls: Int { open.load(ordering: .relaxed) + assigned.load(ordering: .relaxed) }
  /// Calls that the server allows at once.
  var maxStreams: Int { streams.load(ordering: .relaxed) }

  func end() { usable.store(false, ordering: .relaxed) }
  /// Written by the connection's loop only.
  func set(open count: Int) { open.store(count, ordering: .relaxed) }
  func set(maxStreams count: Int) { streams.store(count, ordering: .relaxed) }
  func assign() { assigned.add(1, ordering: .relaxed) }
  func arrive() { assigned.subtract(1, ordering: .relaxed) }
}
