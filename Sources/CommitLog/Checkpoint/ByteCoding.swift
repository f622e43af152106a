internal import SkeinCore

/// Appends little-endian numbers; the small files of a log directory are written with it.
struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  init(capacity: Int = 256) { bytes.reserveCapacity(capacity) }

  mutating func put<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func put(_ text: String) {
    let encoded = Array(text.utf8)
    put(UInt32(encoded.count))
    bytes.append(contentsOf: encoded)
  }

  /// The CRC32C of all before it; `ByteReader(checked:)` is its other half.
  mutating func putChecksum() { put(CRC32C.checksum(bytes)) }
}

/// Reads little-endian numbers with bounds checks: nil past the end, never a trap, no allocation
/// from a length that was not compared with the bytes at hand.
struct ByteReader {
  private let bytes: [UInt8]
  private var position = 0
  private let end: Int

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    self.end = bytes.count
  }

  /// Nil unless the last four bytes are the CRC32C of the rest.
  init?(checked bytes: [UInt8]) {
    guard bytes.count >= 4 else { return nil }
    let end = bytes.count - 4
    let actual = bytes.withUnsafeBytes { CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[..<end])) }
    let stored = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: end, as: UInt32.self) }
    guard UInt32(littleEndian: stored) == actual else { return nil }
    self.bytes = bytes
    self.end = end
  }

  var remaining: Int { end - position }

  mutating func integer<T: FixedWidthInteger>(_ type: T.Type) -> T? {
    let size = MemoryLayout<T>.size
    guard remaining >= size else { return nil }
    defer { position += size }
    return bytes.withUnsafeBytes {
      T(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: T.self))
    }
  }

  mutating func uint8() -> UInt8? { integer(UInt8.self) }
  mutating func int16() -> Int16? { integer(Int16.self) }
  mutating func uint32() -> UInt32? { integer(UInt32.self) }
  mutating func int32() -> Int32? { integer(Int32.self) }
  mutating func uint64() -> UInt64? { integer(UInt64.self) }
  mutating func int64() -> Int64? { integer(Int64.self) }

  mutating func string(limit: Int) -> String? {
    guard let length = uint32(), Int(length) <= min(limit, remaining) else { return nil }
    defer { position += Int(length) }
    return String(validating: bytes[position..<position + Int(length)], as: UTF8.self)
  }
}
