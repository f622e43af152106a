import Foundation

/// What a run of faults showed.
struct GroupReport: Sendable {
  /// One fault and what it cost. Times in nanoseconds.
  struct Fault: Sendable {
    let name: String
    /// Until every partition was consumed again.
    let time: Int64
    /// nil: only measured.
    let limit: Int64?
    /// Partitions that one member had all the time, and the gaps between their deliveries; nil: there were none.
    let unaffected: Int
    let gaps: [Int64]
  }

  var faults: [Fault] = []
  /// Gaps between deliveries before the first fault.
  var normal: [Int64] = []
  /// How much longer the 99th percentile may be.
  var gapLimit: Int64 = 50_000_000
  var published = 0
  var lost = 0
  /// Records processed once more, after the last commit.
  var twice = 0
  var broken = 0
  var refusals: [String: Int] = [:]
  private(set) var examples: [String] = []

  mutating func note(_ count: WritableKeyPath<GroupReport, Int>, _ example: String) {
    self[keyPath: count] += 1
    if self[keyPath: count] <= 3 { examples.append(example) }
  }

  /// Adds a fault, and what of it is over its limit.
  mutating func add(_ fault: Fault) {
    faults.append(fault)
    if let limit = fault.limit, fault.time > limit {
      note(
        \.broken,
        "\(fault.name): all partitions were consumed again after \(Self.seconds(fault.time)) s, the limit is \(Self.seconds(limit)) s"
      )
    }
    if fault.unaffected > 0, fault.gaps.quantile(0.99) > normal.quantile(0.99) + gapLimit {
      note(
        \.broken,
        "\(fault.name): p99 gap of unaffected partitions \(Self.milliseconds(fault.gaps.quantile(0.99))) ms, normal is \(Self.milliseconds(normal.quantile(0.99))) ms"
      )
    }
  }

  var isClean: Bool { lost + broken == 0 && published > 0 }

  private static func seconds(_ nanoseconds: Int64) -> String {
    String(format: "%.2f", Double(nanoseconds) / 1e9)
  }
  private static func milliseconds(_ nanoseconds: Int64) -> String {
    String(format: "%.0f", Double(nanoseconds) / 1e6)
  }

  var summary: String {
    let p99 = Self.milliseconds(normal.quantile(0.99))
    var lines = [
      "gaps between deliveries of a partition without faults: p50 \(Self.milliseconds(normal.quantile(0.5))) p99 \(p99) max \(Self.milliseconds(normal.last ?? 0)) ms",
      "fault                         consumed again   limit   unaffected partitions: p99 gap, longest",
    ]
    for fault in faults {
      let limit = fault.limit.map { Self.seconds($0) + " s" } ?? "-"
      let rest =
        fault.unaffected == 0
        ? "-"
        : "\(fault.unaffected): \(Self.milliseconds(fault.gaps.quantile(0.99))) ms, \(Self.milliseconds(fault.gaps.last ?? 0)) ms"
      lines.append(
        fault.name.padding(toLength: 30, withPad: " ", startingAt: 0)
          + (Self.seconds(fault.time) + " s").padding(toLength: 17, withPad: " ", startingAt: 0)
          + limit.padding(toLength: 8, withPad: " ", startingAt: 0) + rest)
    }
    let refused = refusals.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    lines.append(
      "published \(published), lost \(lost), processed twice \(twice) (only after the last commit), otherwise broken \(broken); refused commits: \(refused.isEmpty ? "none" : refused)"
    )
    return lines.joined(separator: "\n")
  }
}
