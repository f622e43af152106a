import SkeinClient
import SkeinCore
import Synchronization

/// Producers and readers of one topic in this process, by one clock: an open loop.
///
/// Every value begins with the time at which it was due, a number of this run (so that others may use the
/// topic too), and the record's own number.
struct EndToEnd: Sendable {
  /// Due time, run and number, 8 bytes each.
  static let headBytes = 24
  /// How long readers wait for what was acknowledged, after the last acknowledgement.
  static let patience: Int64 = 30_000_000_000

  enum Amount: Sendable {
    /// So many after the warm-up.
    case records(Int)
    case seconds(Double)
  }

  let topic: String
  /// Records per second of all producers together.
  let rate: Double
  let size: Int
  let producers: Int
  let readers: Int
  let linger: Duration
  let bufferBytes: Int
  let warmUp: Int64
  let amount: Amount

  private var run: UInt64 { UInt64.random(in: 1 ... .max) }

  func run(_ client: Client) async throws -> EndToEndResult {
    let state = EndToEndState(run: run, readers: readers)
    var sources: [Reader] = []
    for _ in 0..<readers { sources.append(try await client.reader(topic: topic, from: .end)) }
    var targets: [(Producer, ProducerTopic)] = []
    for _ in 0..<producers {
      var plan = ProducerConfiguration()
      plan.linger = linger
      plan.bufferBytes = bufferBytes
      plan.batchBytes = min(plan.batchBytes, bufferBytes)
      plan.deliveryHandler = { state.delivered($0) }
      let producer = try await client.producer(plan)
      targets.append((producer, try await producer.topic(topic)))
    }
    let start = monotonicNow() + 10_000_000
    let total = count(start, state)
    let (open, ends) = (targets, sources)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (number, reader) in ends.enumerated() {
        group.addTask { try await receive(reader, number, state) }
      }
      group.addTask {
        try await withThrowingTaskGroup(of: Void.self) { senders in
          for (number, target) in open.enumerated() {
            senders.addTask {
              try await send(target.1, first: number, of: total, start, state)
              try await target.0.close()
            }
          }
          try await senders.waitForAll()
        }
        await finish(ends, state)
      }
      try await group.waitForAll()
    }
    return state.result
  }

  /// How many there will be with the warm-up, which the recorders leave out.
  private func count(_ start: Int64, _ state: EndToEndState) -> Int {
    let warm = Int((Double(warmUp) / 1e9 * rate).rounded(.up))
    state.begin(at: start + warmUp, warm: Int64(warm))
    switch amount {
    case .records(let count): return warm + count
    case .seconds(let seconds): return warm + max(1, Int(seconds * rate))
    }
  }

  private func send(
    _ target: ProducerTopic, first: Int, of total: Int, _ start: Int64, _ state: EndToEndState
  ) async throws {
    var value = [UInt8](repeating: 0x5a, count: size)
    var number = first
    while number < total {
      let due = start + Int64(Double(number) * 1e9 / rate)
      let ahead = due - monotonicNow()
      if ahead > 100_000 { try await Task.sleep(nanoseconds: UInt64(ahead)) }
      value.withUnsafeMutableBytes { bytes in
        bytes.storeBytes(of: due, toByteOffset: 0, as: Int64.self)
        bytes.storeBytes(of: state.run, toByteOffset: 8, as: UInt64.self)
        bytes.storeBytes(of: UInt64(number), toByteOffset: 16, as: UInt64.self)
      }
      while try value.withUnsafeBytes({ try target.tryAppend(value: $0, tag: UInt64(due)) }) == .bufferFull {
        await target.waitForSpace()
      }
      number += producers
    }
  }

  private func receive(_ reader: Reader, _ number: Int, _ state: EndToEndState) async throws {
    while let batch = try await reader.nextBatch() {
      let now = monotonicNow()
      try batch.forEachRecord { record in
        guard let value = record.value, value.count >= Self.headBytes,
          value.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == state.run
        else { return }
        state.received(
          value.loadUnaligned(fromByteOffset: 16, as: UInt64.self), due: value.loadUnaligned(as: Int64.self),
          now: now, by: number)
      }
    }
  }

  /// Closes the readers once they have everything, or waited long enough for it.
  private func finish(_ readers: [Reader], _ state: EndToEndState) async {
    state.end = monotonicNow()
    while !state.isComplete, monotonicNow() - state.lastProgress < Self.patience, !Task.isCancelled {
      try? await Task.sleep(for: .milliseconds(5))
    }
    if readers.isEmpty == false { state.end = max(state.end, state.lastProgress) }
    for reader in readers { await reader.close() }
  }
}

/// What happened, from all tasks. Any thread (locked).
final class EndToEndState: Sendable {
  let run: UInt64
  let acknowledged = LatencyRecorder()
  let arrived = LatencyRecorder()
  private let state: Mutex<State>

  private struct State {
    var beginning: Int64 = 0
    var warm: Int64 = 0
    var end: Int64 = 0
    var lastProgress = monotonicNow()
    var acknowledged: Int64 = 0
    var failed: Int64 = 0
    /// By reader: which numbers it has.
    var seen: [NumberSet]
    var repeated: Int64 = 0
  }

  init(run: UInt64, readers: Int) {
    self.run = run
    state = Mutex(State(seen: Array(repeating: NumberSet(), count: readers)))
  }

  func begin(at time: Int64, warm: Int64) {
    acknowledged.begin(at: time)
    arrived.begin(at: time)
    state.withLock { ($0.beginning, $0.warm) = (time, warm) }
  }

  func delivered(_ delivery: BatchDelivery) {
    let now = monotonicNow()
    let isGood = if case .success = delivery.result { true } else { false }
    if isGood { acknowledged.record(startedAt: delivery.tags, now: now) }
    state.withLock { state in
      state.lastProgress = now
      if isGood {
        state.acknowledged += Int64(delivery.recordCount)
      } else {
        state.failed += Int64(delivery.recordCount)
      }
    }
  }

  func received(_ number: UInt64, due: Int64, now: Int64, by reader: Int) {
    arrived.record(startedAt: due, now: now)
    state.withLock { state in
      state.lastProgress = now
      if !state.seen[reader].insert(number) { state.repeated += 1 }
    }
  }

  var lastProgress: Int64 { state.withLock { $0.lastProgress } }
  var isComplete: Bool {
    state.withLock { state in state.seen.allSatisfy { $0.count >= state.acknowledged } }
  }
  var end: Int64 {
    get { state.withLock { $0.end } }
    set { state.withLock { $0.end = newValue } }
  }

  var result: EndToEndResult {
    state.withLock { state in
      EndToEndResult(
        records: max(0, state.acknowledged - state.warm), seconds: Double(state.end - state.beginning) / 1e9,
        endToEnd: arrived.summary, acknowledged: acknowledged.summary, failed: state.failed,
        missing: state.seen.reduce(0) { $0 + max(0, state.acknowledged - $1.count) },
        repeated: state.repeated,
        hasReaders: !state.seen.isEmpty)
    }
  }
}

/// Numbers from 0, a bit each.
struct NumberSet: Sendable {
  private var words: [UInt64] = []
  private(set) var count: Int64 = 0
  /// Beyond it a number is not ours: 2^33 records, 1 GiB.
  private static let limit: UInt64 = 1 << 33

  /// - Returns: whether it was new.
  mutating func insert(_ number: UInt64) -> Bool {
    guard number < Self.limit else { return false }
    let (word, bit) = (Int(number / 64), UInt64(1) << (number % 64))
    if word >= words.count { words += [UInt64](repeating: 0, count: max(1024, word + 1 - words.count)) }
    guard words[word] & bit == 0 else { return false }
    words[word] |= bit
    count += 1
    return true
  }
}

struct EndToEndResult: Sendable {
  /// Acknowledged after the warm-up.
  let records: Int64
  let seconds: Double
  let endToEnd: LatencyRecorder.Summary
  let acknowledged: LatencyRecorder.Summary
  let failed: Int64
  /// Over all readers.
  let missing: Int64
  let repeated: Int64
  let hasReaders: Bool

  func report(size: Int, withDetails: Bool) -> BenchReport {
    var report = BenchReport(
      records: records, bytes: records * Int64(size), seconds: seconds,
      latency: hasReaders ? endToEnd : acknowledged)
    if withDetails {
      report.more = [("ack", acknowledged)]
      report.counts = [("failed", failed), ("missing", missing), ("repeated", repeated)]
    }
    return report
  }

  /// - Throws: `LocalFailure` when a record was lost, repeated or refused.
  func check() throws {
    guard failed == 0, missing == 0, repeated == 0 else {
      throw LocalFailure(
        "\(failed) records failed, \(missing) never reached a reader, \(repeated) came twice")
    }
  }
}
