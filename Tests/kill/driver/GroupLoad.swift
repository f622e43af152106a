import SkeinClient
import Synchronization

/// What was published and acknowledged, by partition. Any thread.
final class GroupLedger: Sendable {
  private struct State {
    var sent: [Int64]
    /// Offsets of acknowledged records, by sequence number.
    var acknowledged: [[Int64: Int64]]
    /// When they were.
    var times: [[Int64: Int64]]
    var count = 0
    var failures: [String] = []
  }

  private let state: Mutex<State>

  init(partitions: Int) {
    state = Mutex(
      State(
        sent: Array(repeating: 0, count: partitions), acknowledged: Array(repeating: [:], count: partitions),
        times: Array(repeating: [:], count: partitions)))
  }

  var acknowledged: [[Int64: Int64]] { state.withLock { $0.acknowledged } }
  /// By partition and sequence number, CLOCK_MONOTONIC.
  var times: [[Int64: Int64]] { state.withLock { $0.times } }
  var count: Int { state.withLock { $0.count } }
  var failures: [String] { state.withLock { $0.failures } }
  var isDrained: Bool { state.withLock { state in state.count == state.sent.reduce(0, +) } }

  func send(_ partition: Int) -> Int64 {
    state.withLock { state in
      state.sent[partition] += 1
      return state.sent[partition] - 1
    }
  }

  func end(_ delivery: BatchDelivery) {
    state.withLock { state in
      switch delivery.result {
      case .success(let answer):
        let now = monotonicNanoseconds()
        for (index, tag) in delivery.tags.enumerated() {
          let offset = answer.baseOffset.map { $0 + Int64(index) } ?? -1
          state.acknowledged[Int(delivery.partition)][Int64(tag)] = offset
          state.times[Int(delivery.partition)][Int64(tag)] = now
        }
        state.count += delivery.tags.count
      case .failure(let error): if state.failures.count < 10 { state.failures.append("\(error)") }
      }
    }
  }

  func fail(_ text: String) { state.withLock { $0.failures.append(text) } }
}

/// A steady load: every partition gets a record at fixed times, whatever the broker does.
struct GroupLoad {
  let client: Client
  let topic: String
  let partitions: Int
  /// Records a second and partition.
  let rate: Int
  let ledger: GroupLedger
  let isOver: @Sendable () -> Bool

  static func value(sequence: Int64, produced: Int64) -> [UInt8] {
    (0..<16).map { byte in
      UInt8(truncatingIfNeeded: (byte < 8 ? sequence : produced) >> Int64(8 * (7 - byte % 8)))
    }
  }

  /// nil: none of ours.
  static func parse(_ value: [UInt8]) -> (sequence: Int64, produced: Int64)? {
    guard value.count == 16 else { return nil }
    func number(_ bytes: ArraySlice<UInt8>) -> Int64 { bytes.reduce(0) { $0 << 8 | Int64($1) } }
    return (number(value[0..<8]), number(value[8..<16]))
  }

  func run() async {
    var configuration = ProducerConfiguration()
    configuration.linger = .milliseconds(1)
    let ledger = ledger
    configuration.deliveryHandler = { ledger.end($0) }
    do {
      let producer = try await client.producer(configuration)
      try await send(to: try await producer.topic(topic))
      // What failed is in the ledger already.
      try? await producer.close()
    } catch { ledger.fail("the producer: \(error)") }
  }

  private func send(to topic: ProducerTopic) async throws {
    let step = 1_000_000_000 / Int64(rate * partitions)
    var due = monotonicNanoseconds()
    var partition = 0
    while !isOver() {
      while due <= monotonicNanoseconds(), !isOver() {
        let sequence = ledger.send(partition)
        try await topic.append(
          value: Self.value(sequence: sequence, produced: monotonicNanoseconds()),
          partition: Int32(partition),
          tag: UInt64(sequence))
        partition = (partition + 1) % partitions
        due += step
      }
      try await Task.sleep(for: .milliseconds(4))
    }
  }
}
