import NIOCore
import NIOPosix

/// Memory that all connections of one event loop use in turn, so that an idle connection holds none.
///
/// `@unchecked Sendable`: confined to the thread of its loop, which is the only one that `current()` gives
/// it to. Nobody keeps bytes in it beyond the call in which it took them.
final class LoopScratch: @unchecked Sendable {
  /// The largest TLS plaintext record.
  static let recordBytes = 16 << 10
  /// Ciphertext made per buffer that is handed to the socket.
  static let outputBytes = 256 << 10

  /// Decrypted bytes of one record.
  let plaintext = UnsafeMutableRawBufferPointer.allocate(byteCount: recordBytes, alignment: 64)
  /// Plaintext that waits to become a full record; empty between pumps.
  let staging = UnsafeMutableRawBufferPointer.allocate(byteCount: recordBytes, alignment: 64)
  /// Reused as long as the socket takes everything at once.
  var output = ByteBuffer()

  /// Made by the first call of this loop that compresses, then kept.
  private(set) lazy var deflater: MessageDeflater? = MessageDeflater()

  deinit {
    plaintext.deallocate()
    staging.deallocate()
  }

  private static let perThread = ThreadSpecificVariable<LoopScratch>()

  /// The scratch of the calling thread.
  static func current() -> LoopScratch {
    if let existing = perThread.currentValue { return existing }
    let created = LoopScratch()
    perThread.currentValue = created
    return created
  }
}
