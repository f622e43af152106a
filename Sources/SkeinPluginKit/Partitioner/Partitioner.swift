public import CSkeinPlugin

/// Which partition a record goes to. A struct or a final class; `partition` is called from many threads at once, must
/// not block, and has 1 µs a record.
///
/// ```swift
/// struct Sticky: Partitioner {
///   init(_ context: PluginContext) throws {}
///   func partition(_ record: Record, of topic: TopicView) -> Int32 {
///     guard let key = record.key else { return .anyPartition }
///     return topic.partition(forHash: StableHash.of(key))
///   }
/// }
/// ```
public protocol Partitioner: Sendable {
  /// Makes an instance for one topic. Throw `PluginError.badConfig` for a configuration of no use.
  init(_ context: PluginContext) throws

  /// Whether the answer depends on topic view, key, headers and configuration alone. The conformance kit checks it;
  /// the host may remember answers. Default: true.
  static var isPure: Bool { get }

  /// 0 to `topic.partitions - 1`, or `.anyPartition`.
  func partition(_ record: Record, of topic: TopicView) -> Int32

  /// Places a batch: sets `answers[i]` for `records[i]`. The default asks for one record after the other.
  func partition(_ records: Records, of topic: TopicView, into answers: UnsafeMutableBufferPointer<Int32>)
}

extension Partitioner {
  @inlinable public static var isPure: Bool { true }

  @inlinable
  public func partition(
    _ records: Records, of topic: TopicView, into answers: UnsafeMutableBufferPointer<Int32>
  ) {
    for index in 0..<records.count { answers[index] = partition(records[index], of: topic) }
  }
}

extension Int32 {
  /// "You choose": the host spreads such records round robin.
  @inlinable public static var anyPartition: Int32 { -1 }
}

extension Plugin.Kind {
  /// The type is known here and inlined into the plug-in: a batch is one call, without a protocol's table a record.
  @inlinable
  public static func partitioner<P: Partitioner>(_ type: P.Type) -> Plugin.Kind {
    partitioner(isPure: P.isPure) { context in
      let partitioner = try P(context)
      return PartitionerBox { topic, records, out in
        let records = Records(records)
        partitioner.partition(
          records, of: TopicView(topic), into: UnsafeMutableBufferPointer(start: out, count: records.count))
      }
    }
  }
}
