import Synchronization

/// What the producers sent and what the broker acknowledged: the shadow that the log is compared
/// with. Shares no code with the broker. Any thread.
final class Ledger: Sendable {
  /// One producer's records in one partition.
  struct Lane: Sendable {
    /// Sequence numbers 0 ..< sent were handed to the producer.
    var sent: UInt64 = 0
    /// Offset of each acknowledged record, by sequence number; -1 for a duplicate without offset.
    var acknowledged: [UInt64: Int64] = [:]
  }

  private struct State {
    var lanes: [[Lane]]
    var acknowledged = 0
    var isStopped = false
    var gaveUp: [String] = []
    /// Hash of each record that a reader saw, by partition and offset.
    var observed: [[Int64: UInt64]]
    var observerEnded: String?
  }

  private let state: Mutex<State>

  init(producers: Int, partitions: Int) {
    state = Mutex(
      State(
        lanes: Array(repeating: Array(repeating: Lane(), count: partitions), count: producers),
        observed: Array(repeating: [:], count: partitions)))
  }

  var isStopped: Bool { state.withLock { $0.isStopped } }
  func stop() { state.withLock { $0.isStopped = true } }

  var acknowledged: Int { state.withLock { $0.acknowledged } }
  var lanes: [[Lane]] { state.withLock { $0.lanes } }
  var gaveUp: [String] { state.withLock { $0.gaveUp } }
  var observed: [[Int64: UInt64]] { state.withLock { $0.observed } }
  var observerEnded: String? { state.withLock { $0.observerEnded } }

  var isDrained: Bool {
    state.withLock { state in
      state.isStopped
        && state.lanes.allSatisfy { $0.allSatisfy { UInt64($0.acknowledged.count) == $0.sent } }
    }
  }

  func sent(_ producer: Int, _ partition: Int, upTo sequence: UInt64) {
    state.withLock { $0.lanes[producer][partition].sent = sequence }
  }

  func acknowledge(_ producer: Int, _ partition: Int, tags: [UInt64], baseOffset: Int64?) {
    state.withLock { state in
      for (index, tag) in tags.enumerated() {
        state.lanes[producer][partition].acknowledged[tag] = baseOffset.map { $0 + Int64(index) } ?? -1
      }
      state.acknowledged += tags.count
    }
  }

  func giveUp(_ why: String) {
    state.withLock { if $0.gaveUp.count < 100 { $0.gaveUp.append(why) } }
  }

  func observe(_ partition: Int, _ records: [(offset: Int64, hash: UInt64)]) {
    state.withLock { state in
      for record in records { state.observed[partition][record.offset] = record.hash }
    }
  }

  func endObservation(_ why: String) { state.withLock { $0.observerEnded = why } }
}
