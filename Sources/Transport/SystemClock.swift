import Glibc
import SkeinCore

/// The process's clock and randomness, where nobody brings others.
enum SystemClock {
  /// Seconds since 1970 UTC.
  static var wallSeconds: Int64 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec)
  }

  struct Jitter: RandomSource {
    func next() -> UInt64 { UInt64.random(in: .min ... .max) }
  }
}
