import SkeinCore

import Glibc

/// The machine's clocks.
package struct SystemTime: TimeSource {
  package init() {}

  package var monotonicNanoseconds: Int64 { Self.read(CLOCK_BOOTTIME) }
  package var wallMilliseconds: Int64 { Self.read(CLOCK_REALTIME) / 1_000_000 }

  private static func read(_ clock: Int32) -> Int64 {
    var now = timespec()
    clock_gettime(clock, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
  }
}

/// The machine's random numbers.
package struct SystemRandom: RandomSource {
  package init() {}
  package func next() -> UInt64 { UInt64.random(in: .min ... .max) }
}
