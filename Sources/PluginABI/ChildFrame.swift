/// The protocol between the broker and a child in which a plug-in runs: frames over a stream socket, all numbers
/// little-endian. Docs/formats/plugin-child.md has the byte table.
package enum ChildFrame {
  package static let magic: UInt32 = 0x4350_4b53  // "SKPC"
  /// Broker and child come from one build; another version is refused in the handshake.
  package static let version: UInt16 = 1

  /// Length field and the rest of the header.
  package static let headerSize = 20
  /// Bytes after the length field: of a frame to the child, which we trust, and of one from it, which we do not.
  package static let limitToChild = 64 << 20
  package static let limitFromChild = (1 << 20) + 4_096

  /// What a frame says. Raw values below 64 go to the child, the others come from it.
  package enum Kind: UInt8, Sendable, CaseIterable {
    case hello = 1
    case create = 2
    case destroy = 3
    case quiesce = 4
    case place = 5
    case step = 6
    case end = 7
    case store = 8
    case cancel = 9
    case ping = 10

    case helloed = 65
    case loaded = 66
    case refused = 67
    case created = 68
    case destroyed = 69
    case placed = 70
    case malformed = 71
    case completed = 72
    case pong = 73
    case log = 74

    package var isFromChild: Bool { rawValue >= 64 }
  }

  package struct Header: Sendable, Hashable {
    package var kind: Kind
    /// 0: the process itself.
    package var instance: UInt32
    package var call: UInt64
    package var payloadCount: Int

    package init(kind: Kind, instance: UInt32, call: UInt64, payloadCount: Int) {
      self.kind = kind
      self.instance = instance
      self.call = call
      self.payloadCount = payloadCount
    }
  }

  /// What is wrong with bytes that came; the sender is not to be trusted any more.
  package struct Malformed: Error, Sendable, Hashable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
  }

  /// The header at the beginning of `bytes`; nil if it is not all there yet. Checked against the limit before anything
  /// of its length is kept.
  package static func header(
    of bytes: UnsafeRawBufferPointer, fromChild: Bool
  ) throws(Malformed) -> Header? {
    guard bytes.count >= 4 else { return nil }
    let length = UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self))
    let limit = fromChild ? limitFromChild : limitToChild
    guard length >= headerSize - 4, Int(length) <= limit else {
      throw Malformed("a frame of \(length) bytes; 16 to \(limit) are allowed")
    }
    guard bytes.count >= headerSize else { return nil }
    guard let kind = Kind(rawValue: bytes[4]), kind.isFromChild == fromChild else {
      throw Malformed("a frame of kind \(bytes[4]), which this side does not get")
    }
    guard bytes[5] == 0, bytes[6] == 0, bytes[7] == 0 else {
      throw Malformed("reserved bytes of a header are not 0")
    }
    return Header(
      kind: kind, instance: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)),
      call: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 12, as: UInt64.self)),
      payloadCount: Int(length) - (headerSize - 4))
  }
}

extension ChildFrame {
  /// Names the call in a frame that was made without one.
  package static func setCall(_ call: UInt64, in frame: inout [UInt8]) {
    withUnsafeBytes(of: call.littleEndian) { raw in
      for i in 0..<8 where frame.count >= headerSize { frame[12 + i] = raw[i] }
    }
  }
}

/// Writes one frame; its length is filled in at the end.
package struct FrameWriter: Sendable {
  package private(set) var bytes: [UInt8] = []

  package init(_ kind: ChildFrame.Kind, instance: UInt32 = 0, call: UInt64 = 0, capacity: Int = 64) {
    bytes.reserveCapacity(ChildFrame.headerSize + capacity)
    put(UInt32(0))
    bytes += [kind.rawValue, 0, 0, 0]
    put(instance)
    put(call)
  }

  package mutating func put<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  package mutating func put(raw: UnsafeRawBufferPointer) { bytes.append(contentsOf: raw) }

  /// Its length as u32 before it.
  package mutating func put(sized: UnsafeRawBufferPointer) {
    put(UInt32(sized.count))
    bytes.append(contentsOf: sized)
  }

  package mutating func put(sized: [UInt8]) { sized.withUnsafeBytes { put(sized: $0) } }
  package mutating func put(_ text: String) { put(sized: Array(text.utf8)) }

  /// The finished frame.
  package var finished: [UInt8] {
    var copy = self
    return copy.finish()
  }

  package mutating func finish() -> [UInt8] {
    let length = UInt32(bytes.count - 4).littleEndian
    withUnsafeBytes(of: length) { raw in
      for i in 0..<4 { bytes[i] = raw[i] }
    }
    return bytes
  }
}

/// Reads a payload from its beginning; every length is checked against what is there.
package struct FrameReader {
  private let bytes: UnsafeRawBufferPointer
  private var at = 0

  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package var remaining: Int { bytes.count - at }

  package mutating func take<T: FixedWidthInteger>(_ type: T.Type) throws(ChildFrame.Malformed) -> T {
    T(littleEndian: try slice(MemoryLayout<T>.size).loadUnaligned(as: T.self))
  }

  package mutating func slice(_ count: Int) throws(ChildFrame.Malformed) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= remaining else {
      throw ChildFrame.Malformed("\(count) bytes are announced, \(remaining) are there")
    }
    defer { at += count }
    return UnsafeRawBufferPointer(rebasing: bytes[at..<at + count])
  }

  /// u32 length and as many bytes, at most `limit`.
  package mutating func sized(limit: Int = .max) throws(ChildFrame.Malformed) -> UnsafeRawBufferPointer {
    let count = Int(try take(UInt32.self))
    guard count <= limit else { throw ChildFrame.Malformed("\(count) bytes where \(limit) are allowed") }
    return try slice(count)
  }

  package mutating func text(limit: Int) throws(ChildFrame.Malformed) -> String {
    String(decoding: try sized(limit: limit), as: UTF8.self)
  }

  package func end() throws(ChildFrame.Malformed) {
    guard remaining == 0 else { throw ChildFrame.Malformed("\(remaining) bytes too many") }
  }
}
