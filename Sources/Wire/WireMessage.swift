internal import CProtobufC
package import SkeinCore

/// Anything that writes itself as the fields of a message.
package protocol FieldWriting: Sendable {
  /// Shows every field that is set, in the order of field numbers.
  func write(to sink: inout some FieldSink)
}

/// A protobuf message as a Swift value. All conformances are generated from `Proto/`.
///
/// Decoding checks the bytes against the descriptor first (`PreScan`), so that whatever arrives is
/// either a value or a `MALFORMED_MESSAGE`; it never traps, and memory is bounded by `WireLimits`.
/// Threading: values; any thread.
package protocol WireMessage: FieldWriting, Equatable {
  /// Decodes one whole message. `bytes` fields of `skein.v1` may be slices that keep memory alive:
  /// of `bytes` itself for payloads and records, of the decoder's arena for the rest.
  init(decoding bytes: SharedBytes, limits: WireLimits) throws(Fault)

  /// The whole message as one array, payloads copied in.
  func encoded() -> [UInt8]

  /// The message as `head` followed by `payload`, with the large payload bytes not copied.
  func encodedParts() -> (head: [UInt8], payload: [SharedBytes])

  /// The size of the encoding in bytes.
  var encodedSize: Int { get }
}

extension WireMessage {
  /// Decodes an array; for cold paths and tests, because the bytes are copied once.
  package init(decoding bytes: [UInt8], limits: WireLimits = .standard) throws(Fault) {
    try self.init(decoding: SharedBytes(bytes), limits: limits)
  }
}

/// An open enumeration: proto3 keeps numbers that this version does not know.
package protocol WireEnum: RawRepresentable, Sendable, Hashable where RawValue == Int32 {
  init(rawValue: Int32)
}

/// What the decoder needs of a generated message: its descriptor, and its reading from protobuf-c's
/// struct.
protocol CMessage: WireMessage {
  associatedtype CStruct
  static var descriptor: UnsafePointer<ProtobufCMessageDescriptor> { get }
  /// Top-level fields that protobuf-c never sees, because they become slices of the message.
  static var slicedFields: [UInt32] { get }

  init(_ c: UnsafePointer<CStruct>, _ arena: Arena)

  /// Decodes a message that was scanned already, as part of the message that holds it.
  init(slicing bytes: SharedBytes, limits: WireLimits) throws(Fault)

  /// Takes one occurrence of a field in `slicedFields`.
  mutating func attach(_ slice: SharedBytes, field: UInt32, limits: WireLimits) throws(Fault)
}

extension CMessage {
  static var slicedFields: [UInt32] { [] }

  init(slicing bytes: SharedBytes, limits: WireLimits) throws(Fault) {
    self = try MessageDecoder.unpack(Self.self, bytes, limits)
  }

  mutating func attach(_ slice: SharedBytes, field: UInt32, limits: WireLimits) throws(Fault) {}
}
