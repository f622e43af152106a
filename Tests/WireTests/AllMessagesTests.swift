import CProtobufC
import CSkeinProto
import SkeinCore
import Testing

@testable import Wire

/// Rules that hold for every message of `Proto/`, present and future.
@Suite struct AllMessagesTests {
  /// protobuf-c recurses without a limit, so a message that can contain itself could overflow the
  /// stack. Walks every descriptor; the deepest legal nesting must fit the scan's limit.
  @Test func noMessageContainsItself() {
    var deepest = 0
    func walk(_ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, _ path: [String]) {
      let name = String(cString: descriptor.pointee.name)
      #expect(!path.contains(name), "\(path.joined(separator: " → ")) → \(name)")
      if path.contains(name) { return }
      deepest = max(deepest, path.count + 1)
      for i in 0..<Int(descriptor.pointee.n_fields) {
        let field = descriptor.pointee.fields[i]
        guard field.type == PROTOBUF_C_TYPE_MESSAGE, let nested = field.descriptor else { continue }
        walk(nested.assumingMemoryBound(to: ProtobufCMessageDescriptor.self), path + [name])
      }
    }
    for i in 0..<Int32(skein_descriptor_count) {
      if let descriptor = skein_descriptor_at(i) { walk(descriptor, []) }
    }
    #expect(deepest >= 4 && deepest <= WireLimits.standard.maxDepth, "deepest: \(deepest)")
  }

  @Test func everyTypeHasVectors() {
    let named = Set(PythonVector.all.map(\.name))
    let google: Set = ["google.protobuf.Any", "google.protobuf.Duration"]
    for type in AllMessages.types {
      let name = String(cString: type.descriptor.pointee.name)
      #expect(named.contains(name) || google.contains(name), "\(name): run make_wire_vectors.py")
    }
  }

  /// Decoding what Python encoded and encoding it again gives Python's bytes, so each side reads
  /// what the other writes.
  @Test func pythonEncodingsComeBackByteForByte() throws {
    #expect(PythonVector.all.count > 300)
    for vector in PythonVector.all {
      #expect(try again(vector.type, vector.bytes) == vector.bytes, "\(vector.name)")
      #expect(try inParts(vector.type, vector.bytes) == vector.bytes, "\(vector.name) in parts")
    }
  }

  private func again<M: CMessage>(_ type: M.Type, _ bytes: [UInt8]) throws -> [UInt8] {
    let message = try M(decoding: bytes)
    let encoded = message.encoded()
    #expect(encoded.count == message.encodedSize)
    #expect(try M(decoding: encoded) == message)
    return encoded
  }

  private func inParts<M: CMessage>(_ type: M.Type, _ bytes: [UInt8]) throws -> [UInt8] {
    let (head, payload) = try M(decoding: bytes).encodedParts()
    return payload.reduce(head) { $0 + $1.array }
  }

  /// A field that appears twice: the last scalar wins, submessages merge, repeated fields add up,
  /// so that decoding a message twice over equals Python's reading of it. For types with presence
  /// only this must hold: it decodes, and encoding is stable.
  @Test func repetitionsDecodeStably() throws {
    for vector in PythonVector.all {
      let once = try again(vector.type, vector.bytes + vector.bytes)
      #expect(try again(vector.type, once) == once, "\(vector.name)")
    }
  }

  /// Unknown fields, as a later version will send them, are skipped at any place.
  @Test func unknownFieldsAreSkipped() throws {
    let unknown: [UInt8] =
      [0x80, 0x7d, 0x05] + [0xba, 0x7d, 3, 1, 2, 3] + [0xa1, 0x7d, 1, 2, 3, 4, 5, 6, 7, 8]
    for vector in PythonVector.all {
      #expect(try again(vector.type, unknown + vector.bytes) == vector.bytes, "\(vector.name), before")
      #expect(try again(vector.type, vector.bytes + unknown) == vector.bytes, "\(vector.name), after")
    }
  }
}
