/// The payload of `place`: a batch, column by column.
///
/// ```
///  0  u64  topic, high
///  8  u64  topic, low
/// 16  u32  partitions          1 to 10,000
/// 20  u32  records             1 to 100,000
/// 24  u32  header names        0 to 8
/// 28  u32  flags               1: weights, 2: timestamps
/// 32  u32  bytes of keys
/// 36  u32  bytes of header values
/// 40  i64 x records            timestamps, if flagged
///     u32 x partitions         weights, if flagged
///     u32 x records            key length + 1; 0 = no key
///     u32 x records x names    header value length + 1; 0 = none
///     keys, header values
/// ```
package enum ChildPlace {
  private static let fixed = 40

  /// Bytes of the payload that `columns` make.
  package static func size(_ columns: borrowing PlacementColumns) -> Int {
    fixed + columns.timestamps.count + columns.weights.count + columns.keyLengths.count
      + columns.headerLengths.count + columns.keys.count + columns.headerValues.count
  }

  package static func frame(_ columns: borrowing PlacementColumns, instance: UInt32, call: UInt64) -> [UInt8]
  {
    var writer = FrameWriter(.place, instance: instance, call: call, capacity: size(columns))
    writer.put(columns.topicHigh)
    writer.put(columns.topicLow)
    writer.put(UInt32(columns.partitions))
    writer.put(UInt32(columns.count))
    writer.put(UInt32(columns.headerNames))
    writer.put((columns.weights.isEmpty ? 0 : 1 as UInt32) | (columns.timestamps.isEmpty ? 0 : 2))
    writer.put(UInt32(columns.keys.count))
    writer.put(UInt32(columns.headerValues.count))
    writer.put(raw: columns.timestamps)
    writer.put(raw: columns.weights)
    writer.put(raw: columns.keyLengths)
    writer.put(raw: columns.headerLengths)
    writer.put(raw: columns.keys)
    writer.put(raw: columns.headerValues)
    return writer.finish()
  }

  /// The columns where they lie in `payload`.
  package static func columns(
    _ payload: UnsafeRawBufferPointer
  ) throws(ChildFrame.Malformed) -> PlacementColumns {
    var reader = FrameReader(payload)
    var columns = PlacementColumns()
    columns.topicHigh = try reader.take(UInt64.self)
    columns.topicLow = try reader.take(UInt64.self)
    columns.partitions = Int(try reader.take(UInt32.self))
    columns.count = Int(try reader.take(UInt32.self))
    columns.headerNames = Int(try reader.take(UInt32.self))
    let flags = try reader.take(UInt32.self)
    let keys = Int(try reader.take(UInt32.self))
    let headerValues = Int(try reader.take(UInt32.self))
    guard (1...PlacementColumns.partitionLimit).contains(columns.partitions),
      (1...PlacementColumns.recordLimit).contains(columns.count),
      columns.headerNames <= PlacementColumns.headerLimit, flags < 4
    else { throw ChildFrame.Malformed("a batch beyond the ABI's limits") }
    if flags & 2 != 0 { columns.timestamps = try reader.slice(columns.count * 8) }
    if flags & 1 != 0 { columns.weights = try reader.slice(columns.partitions * 4) }
    columns.keyLengths = try reader.slice(columns.count * 4)
    columns.headerLengths = try reader.slice(columns.count * columns.headerNames * 4)
    columns.keys = try reader.slice(keys)
    columns.headerValues = try reader.slice(headerValues)
    try reader.end()
    return columns
  }
}
