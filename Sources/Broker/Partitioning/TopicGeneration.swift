import SkeinCore
import Wire

/// One partitioner generation of a topic: what placed the records whose batches carry its number.
package struct TopicGeneration: Sendable, Hashable {
  /// 1 for the first; every change of partitioner, configuration, weights or partition count takes the next.
  package var number: UInt32
  package var binding: TopicBinding
  package var partitions: Int32
  /// Of the plug-in's file; empty for a built-in.
  package var sha256 = ""
  /// The broker's clock at its commit, in milliseconds; 0 = not known (a record of an earlier version).
  package var sinceMilliseconds: Int64 = 0
  /// Everything of the generations before stands below `cuts`, one per partition.
  package var isFenced = false
  package var cuts: [Int64] = []
  /// Non-zero: it restores the binding of that generation.
  package var rollsBackTo: UInt32 = 0
  /// Why it rolled back by itself.
  package var reason = ""
  /// Until when it is watched, by the wall clock, in milliseconds; 0 = not (any more).
  package var watchedUntilMilliseconds: Int64 = 0
  /// What the plug-in looks at besides keys.
  package var headers: [String] = []
  package var needsTimestamps = false

  package init(_ number: UInt32, _ binding: TopicBinding, partitions: Int32, since: Int64 = 0) {
    self.number = number
    self.binding = binding
    self.partitions = partitions
    self.sinceMilliseconds = since
  }
}

extension TopicGeneration {
  /// Generations that a topic remembers.
  static let remembered = 16
  /// Weights and cuts of all remembered generations together, so that a topic's record stays below 1 MiB.
  private static let rememberedNumbers = 100_000

  /// The newest of `generations`, as many as a topic's record may hold; always the last two.
  static func trimmed(_ generations: [TopicGeneration]) -> [TopicGeneration] {
    var numbers = 0
    var kept = 0
    for generation in generations.reversed() {
      numbers += generation.weights.count + generation.cuts.count
      guard kept < 2 || (kept < remembered && numbers <= rememberedNumbers) else { break }
      kept += 1
    }
    return Array(generations.suffix(kept))
  }

  private var weights: [UInt32] { binding.weights }

  // MARK: The stored form

  init?(_ record: GenerationRecord) {
    guard let fallback = TopicBinding.Fallback(text: record.fallback), record.generation > 0,
      !record.partitioner.isEmpty, TopicName.partitionRange.contains(record.partitions)
    else { return nil }
    self.init(
      record.generation,
      TopicBinding(
        partitioner: record.partitioner, config: record.config, weights: record.weights, fallback: fallback),
      partitions: record.partitions, since: record.sinceMs)
    sha256 = record.sha256
    isFenced = record.fenced
    cuts = record.cuts
    rollsBackTo = record.rollsBackTo
    reason = record.reason
    watchedUntilMilliseconds = record.watchedUntilMs
    headers = record.headers
    needsTimestamps = record.timestamps
  }

  var record: GenerationRecord {
    GenerationRecord(
      generation: number, partitioner: binding.partitioner, config: binding.config, weights: binding.weights,
      fallback: binding.fallback == .reject ? "" : binding.fallback.text, partitions: partitions,
      sha256: sha256, sinceMs: sinceMilliseconds, fenced: isFenced, cuts: cuts, rollsBackTo: rollsBackTo,
      reason: reason, watchedUntilMs: watchedUntilMilliseconds, headers: headers, timestamps: needsTimestamps)
  }

  /// What Describe shows.
  var description: PartitionerGeneration {
    PartitionerGeneration(
      generation: number, partitioner: binding.partitioner, config: binding.config, weights: binding.weights,
      fallback: binding.builtIn == nil ? binding.fallback.text : "", partitions: partitions, sha256: sha256,
      sinceMs: sinceMilliseconds, fenced: isFenced, cuts: cuts, rollsBackTo: rollsBackTo, reason: reason)
  }
}
