import NIOCore
import PluginHost
import RecordFormat
import SkeinCore
import Wire

/// What another partitioner would change: a sample of the newest records, placed by both.
struct PartitionerDiff: Sendable {
  static let standardSample = 50_000
  static let maximumSample = 100_000

  let context: BrokerContext
  let topic: Topic
  let current: Side
  let next: Side

  /// One of the two.
  struct Side: Sendable {
    let generation: TopicGeneration
    /// Nil for a built-in, and for a plug-in that does not run.
    let instance: (any PartitionerInstance)?
  }

  struct Outcome: Sendable, Equatable {
    /// Records with a key, and those of them whose partition changes.
    var sampled: UInt64 = 0
    var moved: UInt64 = 0
    var before: [UInt64]
    var after: [UInt64]
    var nanosecondsPerRecord: UInt64 = 0

    init(_ partitions: Int32) {
      before = Array(repeating: 0, count: Int(partitions))
      after = before
    }

    /// The fullest partition's share in either; nil for a small sample.
    var largestShare: Double? {
      let total = before.reduce(0, +)
      guard total >= 1_000 else { return nil }
      return Double(max(before.max() ?? 0, after.max() ?? 0)) / Double(total)
    }
  }

  /// - Throws: what the new one answers with. The present one may be broken: then the records are where they are.
  func run(sample: Int) async throws -> Outcome {
    var outcome = Outcome(topic.partitions)
    var was = PlacementChunks(current.generation)
    var will = PlacementChunks(next.generation)
    var stored: [Int32] = []
    var keyed: [Bool] = []
    var spent: Int64 = 0
    var placed = 0
    try await RecordSample(context: context, topic: topic, limit: sample).forEach { sampled in
      let record = sampled.record
      was.append(key: record.key, timestamp: record.timestamp) { record.headers.value(of: $0) }
      will.append(key: record.key, timestamp: record.timestamp) { record.headers.value(of: $0) }
      stored.append(sampled.partition)
      keyed.append(record.key != nil)
      return (record.key?.count ?? 0) * 2
    } flush: {
      let before = await place(was.take(), current) ?? stored
      let chunks = will.take()
      let begun = context.time.monotonicNanoseconds
      let after = try await placeOrThrow(chunks, next)
      spent += context.time.monotonicNanoseconds - begun
      for index in keyed.indices {
        outcome.count(before[index], after[index], isKeyed: keyed[index], number: placed + index)
      }
      placed += keyed.count
      stored.removeAll(keepingCapacity: true)
      keyed.removeAll(keepingCapacity: true)
    }
    if placed > 0 { outcome.nanosecondsPerRecord = UInt64(max(0, spent)) / UInt64(placed) }
    return outcome
  }

  private func place(_ chunks: [PlacementColumns], _ side: Side) async -> [Int32]? {
    do throws(Fault) {
      return try await placeOrThrow(chunks, side)
    } catch {
      return nil
    }
  }

  private func placeOrThrow(_ chunks: [PlacementColumns], _ side: Side) async throws(Fault) -> [Int32] {
    var all: [Int32] = []
    for columns in chunks { all += try await placeOrThrow(columns, side) }
    return all
  }

  private func placeOrThrow(_ columns: PlacementColumns, _ side: Side) async throws(Fault) -> [Int32] {
    if let builtIn = side.generation.binding.builtIn {
      return columns.placed(by: builtIn, partitions: side.generation.partitions)
    }
    guard let instance = side.instance else {
      throw Fault(
        .partitionerUnavailable, "partitioner \(side.generation.binding.partitioner) is not loaded",
        metadata: ["topic": topic.name])
    }
    let batch = PlacementBatch(
      topic: topic.id, partitions: side.generation.partitions, weights: side.generation.binding.weights,
      keyLengths: columns.keyLengths, keys: columns.keys, headerNames: side.generation.headers.count,
      headerLengths: columns.headerLengths, headerValues: columns.headerValues,
      timestamps: columns.timestamps)
    let loop = context.partitions.shards[0].loop
    let result = await withCheckedContinuation { continuation in
      // Not on the loop: in the broker, the plug-in works in the thread that asks.
      instance.place(batch, on: loop) { continuation.resume(returning: $0) }
    }
    let placed = try result.get()
    guard placed.count == columns.count,
      placed.allSatisfy({ $0 >= -1 && $0 < side.generation.partitions })
    else {
      throw Fault(
        .pluginFault,
        "partitioner \(side.generation.binding.partitioner) answered out of range for a sample of topic \"\(topic.name)\"",
        metadata: ["topic": topic.name, "fault": "out-of-range"])
    }
    return placed
  }
}

extension PartitionerDiff.Outcome {
  /// - Parameter number: of the record, which spreads those evenly that may go anywhere.
  fileprivate mutating func count(_ old: Int32, _ new: Int32, isKeyed: Bool, number: Int) {
    let anywhere = number % before.count
    before[old >= 0 ? Int(old) : anywhere] += 1
    after[new >= 0 ? Int(new) : anywhere] += 1
    guard isKeyed else { return }
    sampled += 1
    // A key without a place had no order that it could lose.
    if old >= 0, old != new { moved += 1 }
  }
}

/// Columns of as many records as come, in pieces that one call may carry.
private struct PlacementChunks {
  private let generation: TopicGeneration
  private var full: [PlacementColumns] = []
  private var open: PlacementColumnsBuilder

  init(_ generation: TopicGeneration) {
    self.generation = generation
    open = PlacementColumnsBuilder(generation)
  }

  mutating func append(
    key: UnsafeRawBufferPointer?, timestamp: Int64, header: (String) -> [UInt8]?
  ) {
    open.append(key: key, timestamp: timestamp, header: header)
    if open.count == PlacementColumns.maximum { full.append(open.take()) }
  }

  mutating func take() -> [PlacementColumns] {
    if open.count > 0 { full.append(open.take()) }
    defer { full = [] }
    return full
  }
}

extension HeaderSequence {
  /// The first value of that name.
  func value(of name: String) -> [UInt8]? {
    for header in self where header.name.elementsEqual(name.utf8) {
      return header.value.map { Array($0) } ?? []
    }
    return nil
  }
}
