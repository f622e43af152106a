import Foundation

/// The counts of a run, what publishers felt, and the first examples of what is wrong.
struct SwapReport: Sendable {
  var sent = 0
  var acknowledged = 0
  var found = 0
  var lost = 0
  var duplicated = 0
  var reordered = 0
  var altered = 0
  /// Records that failed for certain and are there.
  var ghosts = 0
  /// Producers, swaps or restarts that did not go as they must.
  var broken = 0
  /// Stretches of the log between two fences.
  var segments = 0
  /// The history is longer than what the broker remembers: order is checked from its oldest cut on.
  var isPartial = false
  var swaps = 0
  var kills = 0
  var rolledBack = 0
  /// Of kills that came before the swap's commit was heard of: how often it was in force after the restart.
  var committedUnheard = 0
  /// How long the broker held publishers up, in microseconds, a swap.
  var pauses: [Int64] = []
  /// Acknowledgement latency in nanoseconds: before the first swap, and of records due during one.
  var before: [Int64] = []
  var during: [Int64] = []
  private(set) var examples: [String] = []

  mutating func note(_ count: WritableKeyPath<SwapReport, Int>, _ example: String) {
    self[keyPath: count] += 1
    if self[keyPath: count] <= 3 { examples.append(example) }
  }

  var isClean: Bool {
    lost + duplicated + reordered + altered + ghosts + broken == 0 && acknowledged > 0 && acknowledged == sent
      && found == sent
  }

  private static func quantile(_ sorted: [Int64], _ share: Double) -> Int64 {
    sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
  }

  private static func milliseconds(_ nanoseconds: Int64) -> String {
    String(format: "%.1f", Double(nanoseconds) / 1e6)
  }

  private func latency(_ values: [Int64]) -> String {
    let sorted = values.sorted()
    let quantiles = [0.5, 0.99, 0.999].map { Self.milliseconds(Self.quantile(sorted, $0)) }
    return
      "p50 \(quantiles[0]) p99 \(quantiles[1]) p99.9 \(quantiles[2]) max \(Self.milliseconds(sorted.last ?? 0)) ms (\(values.count) records)"
  }

  /// Of this driver's own swaps; who swaps from outside is told by the broker.
  private var pauseSummary: String {
    guard !pauses.isEmpty else { return "the swaps came from outside" }
    let sorted = pauses.sorted()
    return
      "the broker held publishers up for p50 \(Double(Self.quantile(sorted, 0.5)) / 1000) max \(Double(sorted.last ?? 0) / 1000) ms"
  }

  var summary: String {
    """
    sent \(sent), acknowledged \(acknowledged), found \(found); lost \(lost), duplicated \(duplicated), reordered within a key \(reordered), \
    altered \(altered), failed but there \(ghosts), otherwise broken \(broken)
    swaps \(swaps), kills \(kills) (\(committedUnheard) swaps were in force though nobody had heard so), rolled back \(rolledBack), \
    stretches between fences \(segments)\(isPartial ? " (the beginning of the history is forgotten)" : "")
    ack latency before the swaps: \(latency(before))
    ack latency during a swap:    \(latency(during))
    \(pauseSummary)
    """
  }

  var json: String {
    func object(_ values: [Int64]) -> String {
      let sorted = values.sorted()
      return
        "{\"p50\":\(Self.quantile(sorted, 0.5) / 1000),\"p99\":\(Self.quantile(sorted, 0.99) / 1000),\"p999\":\(Self.quantile(sorted, 0.999) / 1000),\"max\":\((sorted.last ?? 0) / 1000),\"records\":\(values.count)}"
    }
    let pauses = self.pauses.sorted()
    return
      "{\"clean\":\(isClean),\"sent\":\(sent),\"acknowledged\":\(acknowledged),\"found\":\(found),\"lost\":\(lost),\"duplicated\":\(duplicated),\"reordered\":\(reordered),\"altered\":\(altered),\"ghosts\":\(ghosts),\"broken\":\(broken),\"swaps\":\(swaps),\"kills\":\(kills),\"rolled_back\":\(rolledBack),\"segments\":\(segments),\"ack_us_before\":\(object(before)),\"ack_us_during\":\(object(during)),\"pause_us\":{\"p50\":\(Self.quantile(pauses, 0.5)),\"max\":\(pauses.last ?? 0)}}"
  }
}
