internal import Glibc

/// CLOCK_MONOTONIC, which `deadline_ns` of the ABI is in: the same in broker and child.
package enum PluginClock {
  /// Nanoseconds.
  package static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }
}
