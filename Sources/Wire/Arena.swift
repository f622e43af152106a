internal import CProtobufC
import SkeinCore

/// The memory of one unpacked message: protobuf-c allocates from it and never frees; all of it goes
/// with the last slice that `shared` handed out.
///
/// It grows in chunks up to its budget and then answers NULL, upon which protobuf-c gives up
/// cleanly. Threading: one decode, one thread.
final class Arena {
  private var chunks: [SharedBytes.Storage] = []
  private var used = 0
  /// Bytes that may still be taken from the system.
  private var remaining: Int
  private var nextChunk: Int
  /// An allocation was refused.
  private(set) var isExhausted = false

  /// For tests: the allocation of this number is refused, counting from 0.
  var refusedAllocation: Int?
  private(set) var allocations = 0

  /// - Parameter expected: a guess at what will be needed, in bytes.
  init(budget: Int, expected: Int) {
    remaining = budget
    nextChunk = max(1024, expected)
  }

  /// Bytes taken from the system so far.
  var capacity: Int { chunks.reduce(0) { $0 + $1.capacity } }

  /// `size` bytes, aligned to 16, or nil beyond the budget.
  func allocate(_ size: Int) -> UnsafeMutableRawPointer? {
    defer { allocations += 1 }
    guard allocations != refusedAllocation, size >= 0, size <= Int.max - 15 else { return refuse() }
    let rounded = (size + 15) & ~15
    if let chunk = chunks.last, rounded <= chunk.capacity - used {
      defer { used += rounded }
      return chunk.base + used
    }
    guard rounded <= remaining else { return refuse() }
    let chunk = SharedBytes.Storage(capacity: min(remaining, max(rounded, nextChunk)))
    chunks.append(chunk)
    remaining -= chunk.capacity
    nextChunk = min(chunk.capacity * 2, 1 << 20)
    used = rounded
    return chunk.base
  }

  private func refuse() -> UnsafeMutableRawPointer? {
    isExhausted = true
    return nil
  }

  /// Unpacks with this arena. `body` gets nil when the bytes are refused or the budget is spent.
  func unpack<C, R>(
    _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, _ bytes: UnsafeRawBufferPointer,
    as: C.Type, _ body: (UnsafePointer<C>?) -> R
  ) -> R {
    withExtendedLifetime(self) {
      var allocator = ProtobufCAllocator(
        alloc: { context, size in
          guard let context else { return nil }
          return Unmanaged<Arena>.fromOpaque(context).takeUnretainedValue().allocate(size)
        },
        free: { _, _ in },
        allocator_data: Unmanaged.passUnretained(self).toOpaque())
      let message = protobuf_c_message_unpack(
        descriptor, &allocator, bytes.count, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
      return body(message.map { UnsafeRawPointer($0).assumingMemoryBound(to: C.self) })
    }
  }

  // MARK: Values out of unpacked structs

  func string(_ text: UnsafePointer<CChar>?) -> String {
    text.map { String(cString: $0) } ?? ""
  }

  func copy(_ data: ProtobufCBinaryData) -> [UInt8] {
    guard let base = data.data else { return [] }
    return [UInt8](UnsafeBufferPointer(start: base, count: data.len))
  }

  /// A slice of this arena; it keeps the chunk alive, not the message it came from.
  func shared(_ data: ProtobufCBinaryData) -> SharedBytes {
    guard data.len > 0, let base = data.data else { return .empty }
    let start = UnsafeRawPointer(base)
    for chunk in chunks.reversed() {
      let offset = start - UnsafeRawPointer(chunk.base)
      if offset >= 0, offset <= chunk.capacity - data.len {
        return SharedBytes(chunk, offset: offset, count: data.len)
      }
    }
    return SharedBytes(copying: UnsafeRawBufferPointer(start: start, count: data.len))
  }
}
