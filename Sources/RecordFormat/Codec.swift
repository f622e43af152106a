/// How the records of a batch are compressed: bits 0-2 of its attributes.
public enum Codec: Int16, Sendable, Hashable, CaseIterable {
  case none = 0
  case gzip = 1
  case snappy = 2
  case lz4 = 3
  case zstd = 4

  /// Whether batches of this codec can be read, and so may be appended: all of them.
  public var isSupported: Bool { true }

  /// Whether batches are written with it. Snappy is only read: what older clients of Kafka's send.
  public var isWritable: Bool { self != .snappy }
}
