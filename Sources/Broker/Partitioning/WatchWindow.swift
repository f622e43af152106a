import SkeinCore

/// What is seen of a partitioner while its generation is watched. A value behind its owner's lock.
struct WatchWindow: Sendable {
  var calls: UInt64 = 0
  var records: UInt64 = 0
  var faults: UInt64 = 0
  /// Of them: answers outside the topic's partitions.
  var outOfRange: UInt64 = 0
  /// Records with an answer, per partition.
  var perPartition: [UInt64]
  /// Nanoseconds a record of the latest calls, in a ring, without what waking a child may take.
  private var times: [Int64] = []
  private var next = 0
  var lastFault: Fault?

  /// Calls whose times are kept.
  static let remembered = 1_000

  init(_ partitions: Int32) { perPartition = Array(repeating: 0, count: Int(partitions)) }

  mutating func count(_ placed: [Int32], records: Int, nanoseconds: Int64, fault: Fault?) {
    calls += 1
    self.records += UInt64(records)
    if let fault {
      faults += 1
      if fault.metadata["fault"] == "out-of-range" { outOfRange += 1 }
      lastFault = fault
      return
    }
    for partition in placed where partition >= 0 { perPartition[Int(partition)] += 1 }
    let time = max(0, nanoseconds - WatchPolicy.wakeUp) / Int64(max(1, records))
    if times.count < Self.remembered {
      times.append(time)
    } else {
      times[next] = time
      next = (next + 1) % Self.remembered
    }
  }

  /// Nanoseconds a record that 99 of 100 of the latest calls stayed below; nil before the 100th.
  var p99: Int64? {
    guard times.count >= 100 else { return nil }
    return times.sorted()[times.count * 99 / 100]
  }

  /// The share of placed records that the fullest partition got; nil while they are few.
  var largestShare: Double? {
    let placed = perPartition.reduce(0, +)
    guard placed >= WatchPolicy.skewRecords else { return nil }
    return Double(perPartition.max() ?? 0) / Double(placed)
  }
}

/// When a watched partitioner is bad enough to go back.
struct WatchPolicy: Sendable {
  /// Calls without an answer, of all: a hundredth, and at least this many.
  static let leastFaults: UInt64 = 3
  static let faultShare = 0.01
  /// Answers out of range are never an accident.
  static let leastOutOfRange: UInt64 = 3
  /// What of a call's time is not held against the partitioner, in nanoseconds: on a busy machine a child waits
  /// for a processor, and a call with one record would stand for that alone.
  static let wakeUp: Int64 = 20_000_000
  /// Nanoseconds a record beyond it: a thousand times what a child costs in large batches.
  static let slowest: Int64 = 1_000_000
  /// Records before skew is judged.
  static let skewRecords: UInt64 = 10_000
  /// How much more than expected the fullest partition may get.
  static let skewFactor = 2.0

  /// The fullest partition's share that the operator was shown, or had before; nil: not known.
  var expectedShare: Double?

  /// Why it must go; nil: nothing is wrong.
  func breach(_ window: WatchWindow) -> String? {
    if window.outOfRange >= Self.leastOutOfRange {
      return "\(window.outOfRange) answers were out of range"
    }
    if window.faults >= Self.leastFaults,
      Double(window.faults) >= Self.faultShare * Double(window.calls)
    {
      let last = window.lastFault.map { "; the last: \($0.message)" } ?? ""
      return "\(window.faults) of \(window.calls) calls had no answer\(last)"
    }
    if let p99 = window.p99, p99 > Self.slowest {
      return "it takes \(p99) ns a record (p99); the limit is \(Self.slowest)"
    }
    if let expectedShare, let share = window.largestShare {
      let even = 1 / Double(max(1, window.perPartition.count))
      let limit = min(1, Self.skewFactor * max(expectedShare, even))
      if share > limit {
        return
          "one partition gets \(Int(share * 100)) % of the records; expected were at most \(Int(limit * 100)) %"
      }
    }
    return nil
  }
}
