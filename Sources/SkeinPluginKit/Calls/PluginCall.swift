import CSkeinPlugin
import Glibc

/// One call that the host waits for. When it gives up (deadline passed, client gone), the call's task is cancelled;
/// throw then, or return: what comes late is ignored.
public struct PluginCall: Sendable {
  let host: Host
  let token: skein_call
  /// When the host stops waiting, in nanoseconds of `CLOCK_MONOTONIC`.
  public let deadlineNanoseconds: UInt64

  /// Time until the deadline; zero when it has passed.
  public var remaining: Duration {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let nanoseconds = UInt64(clamping: now.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: now.tv_nsec)
    return deadlineNanoseconds > nanoseconds
      ? .nanoseconds(Int64(clamping: deadlineNanoseconds - nanoseconds)) : .zero
  }

  /// Whether nobody waits for it any more. The same as `Task.isCancelled`, sooner by a moment.
  public var isCancelled: Bool { Task.isCancelled || host.isCancelled(token) }

  /// For tests: a call without a host.
  public init(testingDeadlineIn duration: Duration = .seconds(60)) {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let parts = duration.components
    let ahead = parts.seconds &* 1_000_000_000 &+ parts.attoseconds / 1_000_000_000
    let nanoseconds = Int64(now.tv_sec) &* 1_000_000_000 &+ Int64(now.tv_nsec) &+ ahead
    self.init(host: .absent, token: 0, deadlineNanoseconds: UInt64(clamping: nanoseconds))
  }

  init(host: Host, token: skein_call, deadlineNanoseconds: UInt64) {
    self.host = host
    self.token = token
    self.deadlineNanoseconds = deadlineNanoseconds
  }
}
