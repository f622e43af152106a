/// The outside world enters Skein's core by five named seams: time, randomness, disk, network and
/// ids (style habit 3). Time, randomness and ids are here; disk is `CommitLog.Disk`, network is
/// `Transport`. The simulator drives each; a sixth needs a decision record.

/// Where a module reads time. Threading: any thread.
public protocol TimeSource: Sendable {
  /// Nanoseconds since an arbitrary start; never goes back (CLOCK_BOOTTIME). All timeouts, leases
  /// and lags use it (R60).
  var monotonicNanoseconds: Int64 { get }
  /// Milliseconds since 1970-01-01 UTC. It is data only: it may jump (R60).
  var wallMilliseconds: Int64 { get }
}

/// Where a module draws randomness and ids. Threading: any thread.
public protocol RandomSource: Sendable {
  /// 64 unpredictable bits (a seeded sequence under simulation).
  func next() -> UInt64
}

extension RandomSource {
  /// A new 128-bit topic id.
  public func topicID() -> TopicID { TopicID(high: next(), low: next()) }
}
