/// The headers of a record to be built: kept as they will stand in the batch, so that appending a
/// record copies them at once. Reuse one value with `removeAll` to build without allocation.
public struct RecordHeaders: Sendable, Hashable {
  private var encoded: [UInt8] = []
  public private(set) var count = 0

  public init() {}

  /// Copies the headers of a record that was read.
  public init(copying headers: HeaderSequence) {
    encoded = Array(headers.bytes)
    count = headers.count
  }

  public var isEmpty: Bool { count == 0 }
  /// Encoded size in bytes; counts towards `BatchLimits.maxRecordBytes`.
  public var sizeInBytes: Int { encoded.count }

  /// Adds a header. Names may repeat; the order is kept; a null value is not an empty one.
  /// - Throws: `badHeaderName` when `name` is not UTF-8 or contains NUL.
  public mutating func append(
    name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?
  ) throws(BatchError) {
    guard HeaderName.isValid(name) else { throw .badHeaderName }
    appendVarint(name.count)
    encoded += name
    appendVarint(value?.count ?? -1)
    if let value { encoded += value }
    count += 1
  }

  /// - Throws: `badHeaderName` when `name` contains NUL.
  public mutating func append(name: String, value: [UInt8]?) throws(BatchError) {
    let name = Array(name.utf8)
    try name.withBytes { (name) throws(BatchError) in
      guard let value else { return try append(name: name, value: nil) }
      try value.withBytes { (value) throws(BatchError) in
        try append(name: name, value: value)
      }
    }
  }

  /// Empties it and keeps its memory.
  public mutating func removeAll() {
    encoded.removeAll(keepingCapacity: true)
    count = 0
  }

  /// The headers in place; valid inside `body` only.
  public func withSequence<R, E: Error>(_ body: (HeaderSequence) throws(E) -> R) throws(E) -> R {
    try encoded.withBytes { (bytes) throws(E) in
      try body(HeaderSequence(bytes: bytes, count: count))
    }
  }

  private mutating func appendVarint(_ value: Int) {
    var raw = Zigzag.encode(Int64(value))
    while raw >= 0x80 {
      encoded.append(UInt8(truncatingIfNeeded: raw) | 0x80)
      raw >>= 7
    }
    encoded.append(UInt8(truncatingIfNeeded: raw))
  }
}

/// What a header name must be: it becomes a protobuf string in `Fetch`, which carries neither
/// invalid UTF-8 nor (with protobuf-c) NUL.
@usableFromInline
enum HeaderName {
  @usableFromInline
  static func isValid(_ name: UnsafeRawBufferPointer) -> Bool {
    var isASCII = true
    for byte in name {
      if byte == 0 { return false }
      if byte >= 0x80 { isASCII = false }
    }
    return isASCII || isUTF8(name)
  }

  private static func isUTF8(_ name: UnsafeRawBufferPointer) -> Bool {
    name.withMemoryRebound(to: UInt8.self) { units in
      (try? UTF8Span(validating: units.span)) != nil
    }
  }
}
