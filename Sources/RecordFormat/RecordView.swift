/// One record of a batch, in place: every pointer leads into the batch or the reader's scratch.
///
/// Valid inside the closure that received it, and nowhere else. Copy what must live longer.
public struct RecordView {
  public let offset: Int64
  /// Milliseconds since 1970: the record's own, or the batch's when a broker set it.
  public let timestamp: Int64
  /// nil and empty are different things.
  public let key: UnsafeRawBufferPointer?
  public let value: UnsafeRawBufferPointer?
  public let headers: HeaderSequence

  @inlinable
  init(
    offset: Int64, timestamp: Int64, key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?,
    headers: HeaderSequence
  ) {
    self.offset = offset
    self.timestamp = timestamp
    self.key = key
    self.value = value
    self.headers = headers
  }
}

/// One header of a record, in place.
public struct HeaderView {
  /// UTF-8 without NUL (checked when the record was parsed).
  public let name: UnsafeRawBufferPointer
  public let value: UnsafeRawBufferPointer?

  /// The name as text.
  public var nameText: String { String(decoding: name, as: UTF8.self) }

  @inlinable
  init(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?) {
    self.name = name
    self.value = value
  }
}

/// The headers of one record, decoded as they are asked for. They were walked once when the record
/// was parsed, so iterating cannot fail. Lives as long as the bytes it was made from.
public struct HeaderSequence: Sequence {
  /// The encoded headers, without their count.
  @usableFromInline let bytes: UnsafeRawBufferPointer
  /// How many there are.
  public let count: Int

  /// - Parameter bytes: encoded headers that were checked before, e.g. another sequence's `encoded`.
  @inlinable
  package init(bytes: UnsafeRawBufferPointer, count: Int) {
    self.bytes = bytes
    self.count = count
  }

  /// As they stand in a batch, without their count.
  @inlinable package var encoded: UnsafeRawBufferPointer { bytes }

  /// No headers.
  @inlinable public static var none: HeaderSequence {
    HeaderSequence(bytes: UnsafeRawBufferPointer(start: nil, count: 0), count: 0)
  }

  @inlinable public var isEmpty: Bool { count == 0 }
  /// Encoded size in bytes, without the count.
  @inlinable public var sizeInBytes: Int { bytes.count }
  @inlinable public var underestimatedCount: Int { count }

  @inlinable
  public func makeIterator() -> Iterator { Iterator(cursor: ByteCursor(bytes), left: count) }

  public struct Iterator: IteratorProtocol {
    @usableFromInline var cursor: ByteCursor
    @usableFromInline var left: Int

    @inlinable
    init(cursor: ByteCursor, left: Int) {
      self.cursor = cursor
      self.left = left
    }

    @inlinable
    public mutating func next() -> HeaderView? {
      guard left > 0 else { return nil }
      left -= 1
      do throws(RecordFlaw) {
        let name = try cursor.take(Int(try cursor.varint32()))
        return HeaderView(name: name, value: try cursor.nullableBytes())
      } catch {
        left = 0
        return nil
      }
    }
  }
}
