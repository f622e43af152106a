/// The built-in partitioners. A record with an explicit partition never reaches one.
public enum BuiltInPartitioner: String, Sendable, Hashable, CaseIterable {
  /// A key goes where Kafka's Java client sends it; what has no key goes round robin by batch.
  case murmur2
  /// Round robin by batch, keys or not.
  case sticky
  /// Round robin by record, keys or not.
  case roundRobin = "round-robin"

  /// The partition that `key` decides, or nil where the sender takes its next one in turn.
  @inlinable
  public func partition(key: UnsafeRawBufferPointer?, count: Int32) -> Int32? {
    guard self == .murmur2, let key else { return nil }
    return Murmur2.partition(key, count: count)
  }

  /// Whether the sender moves on after each record (true) or after each batch (false).
  public var turnsPerRecord: Bool { self == .roundRobin }
}
