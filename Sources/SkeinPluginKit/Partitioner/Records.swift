public import CSkeinPlugin

/// The records of one batch, valid until `partition` returns.
public struct Records {
  @usableFromInline let table: UnsafePointer<skein_records>
  public let count: Int

  @inlinable
  init(_ table: UnsafePointer<skein_records>) {
    self.table = table
    count = Int(table.pointee.count)
  }

  /// - Precondition: 0 <= index < count.
  @inlinable public subscript(index: Int) -> Record { Record(table: table, index: index) }
}

/// One record, valid until `partition` returns. What it points to belongs to the host: copy what you keep.
public struct Record {
  @usableFromInline let table: UnsafePointer<skein_records>
  /// Its place in the batch.
  public let index: Int

  @inlinable
  init(table: UnsafePointer<skein_records>, index: Int) {
    self.table = table
    self.index = index
  }

  /// nil: the record has no key. An empty key is an empty buffer.
  @inlinable public var key: UnsafeRawBufferPointer? { Self.buffer(table.pointee.keys[index]) }

  /// Milliseconds since 1970 UTC; nil unless the manifest's `needs_timestamps` is set.
  @inlinable public var timestamp: Int64? { table.pointee.timestamps.map { $0[index] } }

  /// The value of a header, by its place in the manifest's `headers`; nil: the record has no such header, or the
  /// manifest no such place.
  @inlinable
  public func header(_ place: Int) -> UnsafeRawBufferPointer? {
    let names = Int(table.pointee.header_names)
    guard place >= 0, place < names, let headers = table.pointee.headers else { return nil }
    return Self.buffer(headers[index * names + place])
  }

  @inlinable
  static func buffer(_ bytes: skein_bytes) -> UnsafeRawBufferPointer? {
    bytes.ptr.map { UnsafeRawBufferPointer(start: $0, count: bytes.len) }
  }
}
