internal import SkeinCore

/// What the coordinator knows of a member beyond its records. Gone with a restart: then every timer begins at full
/// length (G19). Times are monotonic nanoseconds.
struct MemberLiveness: Sendable {
  var session: SessionID?
  var heardAt: Int64?
  /// Removed when not heard until then (G11).
  var sessionDeadline: Int64
  /// Its stream broke: removed when it has not come back until then.
  var graceDeadline: Int64?
  /// It has work: removed when it has not advanced until then.
  var processingDeadline: Int64?
  /// It was asked to give back: removed when it has not until then (G11), and never later than the last.
  var revocationDeadline: Int64?
  var lastRevocationDeadline: Int64 = 0
  /// The time of its entry in the queue.
  var queuedAt: Int64 = .max

  enum Cause: String, Sendable {
    case session = "it was silent for the session time"
    case stream = "its stream broke and it did not come back in time"
    case processing = "its processing deadline passed"
    case revocation = "it did not give partitions back in time"
    case dropped = "it dropped partitions that it was to keep"
  }

  var next: Int64 {
    min(
      sessionDeadline, graceDeadline ?? .max, processingDeadline ?? .max, revocationDeadline ?? .max)
  }

  func overdue(_ now: Int64) -> Cause? {
    if let grace = graceDeadline, grace <= now { return .stream }
    if sessionDeadline <= now { return .session }
    if let revocation = revocationDeadline, revocation <= now { return .revocation }
    if let processing = processingDeadline, processing <= now { return .processing }
    return nil
  }
}

/// Counts the failures of processes, so that one that fails again and again does not disturb its group each time
/// (G22). Not in the records: a restart forgives.
struct FailureLog: Sendable {
  private struct Entry: Sendable {
    var failures: [Int64] = []
    var until: Int64 = 0
    var terms = 0
  }

  private var entries: [String: Entry] = [:]

  /// Milliseconds that the process must stay away, or nil.
  func quarantine(of process: String, at now: Int64) -> Int64? {
    guard let entry = entries[process], entry.until > now else { return nil }
    return (entry.until - now + 999_999) / 1_000_000
  }

  mutating func failed(_ process: String, at now: Int64, times: GroupTimes, limit: Int) {
    if entries[process] == nil, entries.count >= limit, let oldest = oldest { entries[oldest] = nil }
    var entry = entries[process] ?? Entry()
    let window = times.failureWindow * 1_000_000
    // A quiet window after the last quarantine forgives.
    if entry.failures.isEmpty, entry.until + window < now { entry.terms = 0 }
    entry.failures.removeAll { $0 + window < now }
    entry.failures.append(now)
    if entry.failures.count >= times.failures {
      let term = min(times.quarantine << Int64(min(entry.terms, 20)), times.longestQuarantine)
      entry.until = now + term * 1_000_000
      entry.terms += 1
      entry.failures = []
    }
    entries[process] = entry
  }

  private var oldest: String? {
    entries.min {
      ($0.value.failures.last ?? $0.value.until, $0.key) < ($1.value.failures.last ?? $1.value.until, $1.key)
    }?.key
  }
}
