/// Counts a plug-in's strikes: so many within a window quarantine it. Pure; times are monotonic nanoseconds.
struct StrikeLedger: Sendable {
  private let limit: Int
  private let window: Int64
  private var times: [Int64] = []

  init(limit: Int, windowSeconds: Int64) {
    self.limit = limit
    window = windowSeconds * 1_000_000_000
  }

  /// - Returns: whether this strike was one too many.
  mutating func strike(at now: Int64) -> Bool {
    forget(before: now)
    times.append(now)
    return times.count >= limit
  }

  mutating func count(at now: Int64) -> Int {
    forget(before: now)
    return times.count
  }

  mutating func clear() { times = [] }

  private mutating func forget(before now: Int64) { times.removeAll { now - $0 >= window } }
}

/// How long to wait before the next start: doubles with each failure, begins again after a good minute. Pure.
struct Backoff: Sendable {
  private let range: ClosedRange<Int64>
  private var next: Int64

  init(_ range: ClosedRange<Int64>) {
    self.range = range
    next = range.lowerBound
  }

  /// Milliseconds.
  mutating func wait() -> Int64 {
    defer { next = min(next * 2, range.upperBound) }
    return next
  }

  mutating func succeeded() { next = range.lowerBound }
}

/// Stops asking a plug-in that does not answer: after five failures in a row calls fail at once for a while, then one
/// may try. Pure; times are monotonic nanoseconds.
struct CircuitBreaker: Sendable {
  static let failuresToOpen = 5
  private var failures = 0
  private var openUntil: Int64 = 0
  private var isTrying = false
  private var backoff = Backoff(1_000...30_000)

  init() {}

  /// - Returns: nil if the call may go, else how long it is pointless, milliseconds.
  mutating func admit(at now: Int64) -> Int64? {
    guard failures >= Self.failuresToOpen else { return nil }
    if now < openUntil { return (openUntil - now) / 1_000_000 + 1 }
    guard !isTrying else { return 100 }
    isTrying = true
    return nil
  }

  mutating func succeeded() {
    guard failures > 0 else { return }
    failures = 0
    isTrying = false
    backoff.succeeded()
  }

  mutating func failed(at now: Int64) {
    failures += 1
    isTrying = false
    if failures >= Self.failuresToOpen { openUntil = now + backoff.wait() * 1_000_000 }
  }
}
