import SkeinCore
import Synchronization

/// What went through one partition during the last minute, in buckets of 5 s that are reused in turn:
/// one lock and four additions a batch or read, nothing per record, no timer, nothing while idle.
/// Made with a partition's first traffic. Threading: any thread.
final class TrafficMeter: Sendable {
  static let bucketNanoseconds: Int64 = 5_000_000_000
  /// Twelve whole buckets and the one that fills.
  static let buckets = 13

  struct Totals: Sendable, Equatable {
    /// What the numbers cover, in milliseconds.
    var windowMilliseconds: Int64 = 0
    var recordsIn: Int64 = 0
    var bytesIn: Int64 = 0
    var recordsOut: Int64 = 0
    var bytesOut: Int64 = 0

    static func + (a: Totals, b: Totals) -> Totals {
      Totals(
        windowMilliseconds: max(a.windowMilliseconds, b.windowMilliseconds),
        recordsIn: a.recordsIn + b.recordsIn, bytesIn: a.bytesIn + b.bytesIn,
        recordsOut: a.recordsOut + b.recordsOut, bytesOut: a.bytesOut + b.bytesOut)
    }
  }

  private struct State {
    /// The number of the newest bucket: its begin in units of `bucketNanoseconds`.
    var newest: Int64
    var sums = [Totals](repeating: Totals(), count: TrafficMeter.buckets)

    /// Makes the bucket of `number` the newest and empties those that were passed over.
    mutating func turn(to number: Int64) -> Int {
      let passed = min(max(0, number - newest), Int64(TrafficMeter.buckets))
      for step in 0..<passed { sums[State.index(number - step)] = Totals() }
      newest = max(newest, number)
      return State.index(newest)
    }

    static func index(_ number: Int64) -> Int {
      let index = Int(number % Int64(TrafficMeter.buckets))
      return index < 0 ? index + TrafficMeter.buckets : index
    }
  }

  private let begun: Int64
  private let state: Mutex<State>

  /// - Parameter now: monotonic nanoseconds, as everywhere below.
  init(now: Int64) {
    begun = now
    state = Mutex(State(newest: now / Self.bucketNanoseconds))
  }

  func countIn(records: Int, bytes: Int, at now: Int64) {
    state.withLock { state in
      let index = state.turn(to: now / Self.bucketNanoseconds)
      state.sums[index].recordsIn &+= Int64(records)
      state.sums[index].bytesIn &+= Int64(bytes)
    }
  }

  func countOut(records: Int64, bytes: Int, at now: Int64) {
    state.withLock { state in
      let index = state.turn(to: now / Self.bucketNanoseconds)
      state.sums[index].recordsOut &+= records
      state.sums[index].bytesOut &+= Int64(bytes)
    }
  }

  func totals(at now: Int64) -> Totals {
    var totals = state.withLock { state in
      _ = state.turn(to: now / Self.bucketNanoseconds)
      return state.sums.reduce(Totals(), +)
    }
    let oldest = (now / Self.bucketNanoseconds - Int64(Self.buckets) + 1) * Self.bucketNanoseconds
    totals.windowMilliseconds = max(1, (now - max(begun, oldest)) / 1_000_000)
    return totals
  }
}
