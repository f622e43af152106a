internal import Glibc
internal import PluginABI
internal import Synchronization

/// The socket to the broker. Reading: the main thread alone. Writing: any thread, a whole frame at a time.
final class FrameSocket: @unchecked Sendable {
  // Safe between threads: writing is under `turn`; the buffer belongs to the main thread.
  private let descriptor: Int32
  private let turn = Mutex(())
  private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
  private var start = 0
  private var filled = 0

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { buffer.deallocate() }

  /// Writes all of it. A broker that is gone ends the process.
  func send(_ frame: [UInt8]) {
    turn.withLock { _ in
      frame.withUnsafeBytes { bytes in
        var at = 0
        while at < bytes.count {
          let n = write(descriptor, bytes.baseAddress.map { $0 + at }, bytes.count - at)
          if n < 0, errno == EINTR { continue }
          if n <= 0 { _exit(0) }
          at += n
        }
      }
    }
  }

  /// The next frame, its payload valid until the next call; nil at the end of the stream.
  func next() throws(ChildFrame.Malformed) -> (ChildFrame.Header, UnsafeRawBufferPointer)? {
    while true {
      let there = UnsafeRawBufferPointer(rebasing: buffer[start..<filled])
      if let header = try ChildFrame.header(of: there, fromChild: false) {
        let whole = ChildFrame.headerSize + header.payloadCount
        if there.count >= whole {
          start += whole
          return (header, UnsafeRawBufferPointer(rebasing: there[ChildFrame.headerSize..<whole]))
        }
        makeRoom(for: whole)
      } else {
        makeRoom(for: ChildFrame.headerSize)
      }
      let n = read(descriptor, buffer.baseAddress.map { $0 + filled }, buffer.count - filled)
      if n < 0, errno == EINTR { continue }
      guard n > 0 else { return nil }
      filled += n
    }
  }

  /// Moves what is unread to the front, and grows for a frame of `count` bytes, whose length was checked. A buffer that a
  /// large frame made is given back when it is empty.
  private func makeRoom(for count: Int) {
    let unread = filled - start
    if buffer.count < count || (buffer.count > 1 << 20 && unread == 0 && count < 1 << 16) {
      let grown = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1 << 16), alignment: 16)
      grown.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[start..<filled]))
      buffer.deallocate()
      buffer = grown
    } else if start > 0, let base = buffer.baseAddress {
      memmove(base, base + start, unread)
    }
    start = 0
    filled = unread
  }
}
