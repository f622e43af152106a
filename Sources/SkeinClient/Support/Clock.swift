import SkeinCore

#if canImport(Glibc)
  import Glibc
#endif

/// The machine's clocks (R60: timeouts from the monotonic one, record timestamps from the wall).
struct SystemClock: TimeSource {
  var monotonicNanoseconds: Int64 { Self.read(CLOCK_BOOTTIME) }
  var wallMilliseconds: Int64 { Self.read(CLOCK_REALTIME) / 1_000_000 }

  private static func read(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}

extension Duration {
  /// Whole nanoseconds, saturating: a caller may write `.seconds(Int64.max)` for "never".
  var nanosecondsClamped: Int64 {
    let (seconds, attoseconds) = components
    guard abs(seconds) < Int64.max / 2_000_000_000 else { return seconds < 0 ? 0 : Int64.max / 2 }
    return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
  }
}
