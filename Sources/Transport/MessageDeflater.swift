import CZlib
import SkeinCore

/// Compresses outbound messages with gzip, one after the other. One per event loop, made when a call
/// first asks for it: zlib's state is 256 KiB.
///
/// Not `Sendable`: it belongs to the `LoopScratch` of its thread.
final class MessageDeflater {
  private static let windowBits: Int32 = 15 + 16
  /// zlib's default.
  private static let memoryLevel: Int32 = 8

  private let stream: UnsafeMutablePointer<z_stream>

  /// nil when zlib has no memory. Fast, not small: it runs on an event loop.
  init?() {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    guard
      deflateInit2_(
        stream, Z_BEST_SPEED, Z_DEFLATED, Self.windowBits, Self.memoryLevel, Z_DEFAULT_STRATEGY,
        ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else {
      stream.deallocate()
      return nil
    }
  }

  deinit {
    deflateEnd(stream)
    stream.deallocate()
  }

  /// The message compressed, or nil when that would not make it smaller.
  func compress(_ message: OutboundMessage) -> OutboundMessage? {
    guard message.count > 1, deflateReset(stream) == Z_OK else { return nil }
    // No room for more than the original: running out of it is the answer that it does not pay.
    let output = SharedBytes.Storage(capacity: message.count - 1)
    stream.pointee.next_out = output.base.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = UInt32(clamping: output.capacity)
    var fits = message.head.withUnsafeBytes { feed($0) }
    for part in message.parts where fits { fits = part.withUnsafeBytes { feed($0) } }
    guard fits, deflate(stream, Z_FINISH) == Z_STREAM_END else { return nil }
    let count = Int(stream.pointee.total_out)
    var bytes = SharedBytes(output, offset: 0, count: count)
    if count < output.capacity / 2 { bytes = bytes.withUnsafeBytes { SharedBytes(copying: $0) } }
    return OutboundMessage(compressed: bytes)
  }

  private func feed(_ bytes: UnsafeRawBufferPointer) -> Bool {
    // zlib declares its input mutable but does not write to it.
    stream.pointee.next_in = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?
      .assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = UInt32(clamping: bytes.count)
    guard bytes.count > 0 else { return true }
    return deflate(stream, Z_NO_FLUSH) == Z_OK && stream.pointee.avail_in == 0
  }
}
