import SkeinClient
import Synchronization

/// What one producer sent, by record number, and what became of it. Any thread.
final class SwapLedger: Sendable {
  struct Entry: Sendable {
    let key: Int32
    /// When it was due, in nanoseconds since the run began: a producer that is held up cannot hide it.
    let due: Int64
    /// Until the acknowledgement, in nanoseconds; -1: none yet.
    var latency: Int64 = -1
    /// Failed, and certainly not stored.
    var isRefused = false
  }

  private struct State {
    var entries: [Entry] = []
    var acknowledged = 0
    var failures: [String] = []
    var failed = 0
  }

  private let state = Mutex(State())

  var entries: [Entry] { state.withLock { $0.entries } }
  var acknowledged: Int { state.withLock { $0.acknowledged } }
  var failures: [String] { state.withLock { $0.failures } }
  var isDrained: Bool { state.withLock { $0.acknowledged + $0.failed == $0.entries.count } }

  func send(key: Int32, due: Int64) -> UInt64 {
    state.withLock { state in
      state.entries.append(Entry(key: key, due: due))
      return UInt64(state.entries.count - 1)
    }
  }

  func end(_ delivery: BatchDelivery, now: Int64) {
    state.withLock { state in
      switch delivery.result {
      case .success:
        for tag in delivery.tags {
          state.entries[Int(tag)].latency = now - state.entries[Int(tag)].due
          state.acknowledged += 1
        }
      case .failure(let error):
        for tag in delivery.tags { state.entries[Int(tag)].isRefused = error.outcome == .definite }
        state.failed += delivery.tags.count
        if state.failures.count < 10 { state.failures.append("\(error)") }
      }
    }
  }

  func fail(_ text: String) { state.withLock { $0.failures.append(text) } }
}

/// One producer at a steady rate: records are due at fixed times, whatever the broker does.
struct SwapLoad {
  let client: Client
  let options: SwapDriver
  let number: Int
  let ledger: SwapLedger
  let begun: ContinuousClock.Instant
  let isOver: @Sendable () -> Bool

  static func nanoseconds(since begun: ContinuousClock.Instant) -> Int64 {
    let (seconds, attoseconds) = (ContinuousClock.now - begun).components
    return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
  }

  static func key(_ producer: Int, _ key: Int32) -> [UInt8] { Array("p\(producer)-k\(key)".utf8) }

  func run() async {
    var configuration = ProducerConfiguration()
    configuration.linger = .milliseconds(2)
    let (ledger, begun) = (ledger, begun)
    configuration.deliveryHandler = { ledger.end($0, now: Self.nanoseconds(since: begun)) }
    do {
      let producer = try await client.producer(configuration)
      try await send(to: try await producer.topic(options.topic))
      // What failed is in the ledger already.
      try? await producer.close()
    } catch { ledger.fail("producer \(number): \(error)") }
  }

  private func send(to topic: ProducerTopic) async throws {
    let step = Int64(1_000_000_000) * Int64(options.producers) / Int64(options.rate)
    var due = Self.nanoseconds(since: begun)
    var random = SplitMix(state: UInt64(number) &+ 77)
    var value = [UInt8](repeating: 0x2e, count: options.size)
    while !isOver() {
      let now = Self.nanoseconds(since: begun)
      while due <= now, !isOver() {
        let key = Int32(random.below(options.keys))
        // In the ledger before it is handed over: it may be acknowledged before the call returns.
        let record = ledger.send(key: key, due: due)
        for byte in 0..<8 {
          value[byte] = UInt8(truncatingIfNeeded: number >> (8 * (7 - byte)))
          value[8 + byte] = UInt8(truncatingIfNeeded: record >> (8 * (7 - UInt64(byte))))
        }
        try await topic.append(key: Self.key(number, key), value: value, tag: record)
        due += step
      }
      try await Task.sleep(for: .milliseconds(1))
    }
  }
}
