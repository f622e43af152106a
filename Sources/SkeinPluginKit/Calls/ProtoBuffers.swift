import CProtobufC
import Glibc

/// A request that is read from an encoded message by protobuf-c.
protocol ProtoReadable: Sendable {
  /// nil: malformed.
  init?(proto: UnsafeRawBufferPointer)
}

/// Memory of a message that is being encoded: freed with it.
final class ProtoArena {
  private var blocks: [UnsafeMutableRawPointer] = []

  deinit { for block in blocks { block.deallocate() } }

  /// A C string. A NUL byte would end it early, so that "admin\\0guest" were "admin": refused.
  func text(_ text: String) throws -> UnsafeMutablePointer<CChar> {
    guard !text.utf8.contains(0) else { throw PluginError.failed("a text of the answer has a NUL byte") }
    return array(Array(text.utf8CString))
  }

  func array<Element>(_ values: [Element]) -> UnsafeMutablePointer<Element> {
    let memory = UnsafeMutablePointer<Element>.allocate(capacity: max(1, values.count))
    memory.initialize(from: values, count: values.count)
    blocks.append(UnsafeMutableRawPointer(memory))
    return memory
  }

  /// One message in memory that stays where it is.
  func message<Message>(_ value: Message) -> UnsafeMutablePointer<Message> { array([value]) }

  /// Pointers to messages, as protobuf-c wants repeated fields.
  func messages<Message>(_ values: [Message]) -> UnsafeMutablePointer<UnsafeMutablePointer<Message>?> {
    array(values.map { Optional(message($0)) })
  }

  /// The bytes of a message whose first member is protobuf-c's `base`.
  static func encode<Message>(_ message: inout Message) -> [UInt8] {
    withUnsafeBytes(of: &message) { raw in
      guard let base = raw.baseAddress?.assumingMemoryBound(to: ProtobufCMessage.self) else { return [] }
      let size = protobuf_c_message_get_packed_size(base)
      return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
        count = size == 0 ? 0 : protobuf_c_message_pack(base, buffer.baseAddress)
      }
    }
  }
}
