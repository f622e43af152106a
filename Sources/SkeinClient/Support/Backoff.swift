import SkeinCore

/// Exponential back-off with full jitter: attempt *n* waits a random time between half of and the whole
/// of `first * 2^n`, at most `limit`. Pure: randomness comes in by its seam.
struct Backoff: Sendable {
  /// Nanoseconds before the first retry.
  var first: Int64 = 50_000_000
  /// No wait is longer, in nanoseconds.
  var limit: Int64 = 5_000_000_000
  private(set) var attempts = 0

  /// The next wait in nanoseconds; counts an attempt.
  mutating func next(_ random: any RandomSource) -> Int64 {
    let ceiling = min(limit, first << Int64(min(attempts, 20)))
    attempts += 1
    let half = max(1, ceiling / 2)
    return half + Int64(random.next() % UInt64(half))
  }

  /// Something worked: start over.
  mutating func reset() { attempts = 0 }
}

/// The process's random source; tests bring a seeded one.
struct SystemRandom: RandomSource {
  func next() -> UInt64 { UInt64.random(in: .min ... .max) }
}
