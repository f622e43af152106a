public import CSkeinPlugin

/// The topic as it is for one batch, valid until `partition` returns.
public struct TopicView {
  @usableFromInline let table: UnsafePointer<skein_topic>
  /// 1 to 10,000.
  public let partitions: Int32

  @inlinable
  init(_ table: UnsafePointer<skein_topic>) {
    self.table = table
    partitions = table.pointee.partitions
  }

  /// One number a partition; nil: all equal.
  @inlinable
  public var weights: UnsafeBufferPointer<UInt32>? {
    table.pointee.weights.map { UnsafeBufferPointer(start: $0, count: Int(partitions)) }
  }

  /// The topic's 16 bytes.
  public var id: [UInt8] { withUnsafeBytes(of: table.pointee.id) { Array($0) } }

  /// The hash modulo the partitions, without a bias that matters.
  @inlinable
  public func partition(forHash hash: UInt64) -> Int32 {
    // The high half of the product is hash * partitions / 2^64: as even as a modulo, without a division.
    Int32(truncatingIfNeeded: hash.multipliedFullWidth(by: UInt64(UInt32(bitPattern: partitions))).high)
  }
}
