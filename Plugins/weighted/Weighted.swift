public import CSkeinPlugin
import SkeinPluginKit

/// Partitions get keys in proportion to the topic's weights: one of weight 3 three times as many as one of weight 1,
/// one of weight 0 none. Without weights all are equal.
///
/// The weights stand side by side on a line; a key's hash is a point on it. Another weight moves the keys between its
/// old and new bounds, and those of the partitions after it: ask `skein topic partitioner diff` before a change.
/// No configuration.
struct Weighted: Partitioner {
  init(_ context: PluginContext) throws {}

  func partition(_ record: Record, of topic: TopicView) -> Int32 {
    guard let key = record.key else { return .anyPartition }
    guard let weights = topic.weights else { return topic.partition(forHash: StableHash.of(key)) }
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: weights.count) { ends in
      Self.place(key, on: ends, total: Self.lay(weights, on: ends))
    }
  }

  /// The line is laid once a batch.
  func partition(_ records: Records, of topic: TopicView, into answers: UnsafeMutableBufferPointer<Int32>) {
    guard let weights = topic.weights else {
      for index in 0..<records.count { answers[index] = partition(records[index], of: topic) }
      return
    }
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: weights.count) { ends in
      let total = Self.lay(weights, on: ends)
      for index in 0..<records.count {
        answers[index] = records[index].key.map { Self.place($0, on: ends, total: total) } ?? .anyPartition
      }
    }
  }

  /// Sets `ends` to where each partition ends on the line, and returns the line's length: at most 10,000 * (2^32 - 1),
  /// which fits.
  private static func lay(_ weights: UnsafeBufferPointer<UInt32>, on ends: UnsafeMutableBufferPointer<UInt64>)
    -> UInt64
  {
    var total: UInt64 = 0
    for (index, weight) in weights.enumerated() {
      total += UInt64(weight)
      ends[index] = total
    }
    return total
  }

  /// The first partition that ends behind the key's point. No partition has weight: the host chooses.
  private static func place(
    _ key: UnsafeRawBufferPointer, on ends: UnsafeMutableBufferPointer<UInt64>, total: UInt64
  ) -> Int32 {
    guard total > 0 else { return .anyPartition }
    let point = StableHash.of(key).multipliedFullWidth(by: total).high
    var low = 0
    var high = ends.count - 1
    while low < high {
      let middle = (low + high) / 2
      if ends[middle] > point { high = middle } else { low = middle + 1 }
    }
    return Int32(low)
  }
}

@c @implementation
public func skein_plugin_entry(_ host: UnsafePointer<skein_host>?) -> UnsafePointer<skein_plugin>? {
  Plugin.export(host, "org.skein.weighted", "1.0.0", .partitioner(Weighted.self))
}
