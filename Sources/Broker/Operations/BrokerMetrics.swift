import SkeinCore
import Synchronization

/// A number that threads add to without a lock.
final class Counter: Sendable {
  private let bits = Atomic<Int>(0)
  func add(_ amount: Int) { bits.add(amount, ordering: .relaxed) }
  var value: Int { bits.load(ordering: .relaxed) }
}

/// What the broker counts. Names and units follow Prometheus' conventions; `MetricsPage` renders
/// them. Threading: any thread.
final class BrokerMetrics: Sendable {
  let recordsIn = Counter()
  let bytesIn = Counter()
  let bytesOut = Counter()
  let publishStreams = Counter()
  let readStreams = Counter()
  let subscribeStreams = Counter()
  let calls = Counter()
  let callsRefused = Counter()
  let handshakeFailures = Counter()
  let syncs = Counter()
  let readsThrottled = Counter()
  let fencesWaitedOut = Counter()
  let scrubbedBytes = Counter()
  let scrubRounds = Counter()
  let scrubDamage = Counter()
  let compactionMicroseconds = Counter()
  /// Questions to the listener's authenticator, by how they ended.
  let tokensAccepted = Counter()
  let tokensDenied = Counter()
  let tokensUnjudged = Counter()
}
