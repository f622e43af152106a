internal import SkeinCore

/// Appends little-endian numbers and counted text.
struct RecordWriter {
  private(set) var bytes: [UInt8] = []

  mutating func put<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  /// At most 65,535 bytes of UTF-8: every text of a record has a smaller limit.
  mutating func put(_ text: String) {
    put(UInt16(truncatingIfNeeded: text.utf8.count))
    bytes.append(contentsOf: text.utf8)
  }

  mutating func put(_ text: String?) {
    put(UInt8(text == nil ? 0 : 1))
    if let text { put(text) }
  }

  mutating func put(_ texts: [String]) {
    put(UInt32(texts.count))
    for text in texts { put(text) }
  }

  mutating func put(_ id: TopicID) {
    put(id.high)
    put(id.low)
  }
}

/// Reads them with bounds checks: throws past the end, never traps, and allocates for a count only what the bytes
/// at hand can hold.
struct RecordReader {
  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var remaining: Int { bytes.count - position }

  mutating func integer<T: FixedWidthInteger>(_ type: T.Type = T.self) throws(GroupRecordError) -> T {
    let size = MemoryLayout<T>.size
    guard remaining >= size else { throw .truncated }
    defer { position += size }
    return bytes.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: T.self)) }
  }

  mutating func string() throws(GroupRecordError) -> String {
    let length = Int(try integer(UInt16.self))
    guard remaining >= length else { throw .truncated }
    defer { position += length }
    guard let text = String(validating: bytes[position..<position + length], as: UTF8.self) else {
      throw .invalid("text that is not UTF-8")
    }
    return text
  }

  mutating func optionalString() throws(GroupRecordError) -> String? { try flag() ? try string() : nil }

  mutating func flag() throws(GroupRecordError) -> Bool {
    switch try integer(UInt8.self) {
    case 0: false
    case 1: true
    case let other: throw .invalid("a flag of \(other)")
    }
  }

  /// A count of things of at least `size` bytes each.
  mutating func count(of size: Int) throws(GroupRecordError) -> Int {
    let count = Int(try integer(UInt32.self))
    guard count <= remaining / size else { throw .truncated }
    return count
  }

  mutating func strings() throws(GroupRecordError) -> [String] {
    var texts: [String] = []
    for _ in 0..<(try count(of: 2)) { texts.append(try string()) }
    return texts
  }

  mutating func topicID() throws(GroupRecordError) -> TopicID {
    TopicID(high: try integer(), low: try integer())
  }

  mutating func end() throws(GroupRecordError) {
    guard remaining == 0 else { throw .invalid("\(remaining) bytes after the end") }
  }
}

/// Why bytes are not a record.
package enum GroupRecordError: Error, Sendable, Hashable, CustomStringConvertible {
  /// They end too early, or a count is larger than what follows.
  case truncated
  /// Written by a later version: this broker must not go on without understanding them.
  case unknownType(UInt8)
  case unknownVersion(UInt8)
  case invalid(String)

  package var description: String {
    switch self {
    case .truncated: "the record of __groups ends too early"
    case .unknownType(let type): "the record of __groups has the unknown type \(type)"
    case .unknownVersion(let version): "the record of __groups has the unknown version \(version)"
    case .invalid(let what): "the record of __groups has \(what)"
    }
  }
}
