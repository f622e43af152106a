import Foundation
import Glibc

/// Nobody reads our stdout any more.
struct BrokenPipe: Error {}

/// stdout and stderr, written whole and unbuffered by us.
enum Console {
  static var isErrorTerminal: Bool { isatty(STDERR_FILENO) == 1 }
  static var isOutputTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

  /// Colours only for a terminal that can, and whose user has not said no (https://no-color.org).
  static var hasColour: Bool {
    let environment = ProcessInfo.processInfo.environment
    return isOutputTerminal && environment["NO_COLOR"]?.isEmpty ?? true && environment["TERM"] != "dumb"
  }

  /// A line for people, on stderr.
  static func note(_ text: String) { try? write(Array((text + "\n").utf8), to: STDERR_FILENO) }

  /// A line of the result, on stdout.
  static func print(_ text: String) throws { try write(Array((text + "\n").utf8), to: STDOUT_FILENO) }

  static func write(_ bytes: [UInt8], to descriptor: Int32) throws {
    try bytes.withUnsafeBytes { bytes in
      var done = 0
      while done < bytes.count {
        let count = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        if count > 0 {
          done += count
        } else if errno == EAGAIN {
          var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          _ = Glibc.poll(&poll, 1, 1000)
        } else if errno == EPIPE {
          throw BrokenPipe()
        } else if errno != EINTR {
          throw LocalFailure("cannot write to the output: \(String(cString: strerror(errno)))")
        }
      }
    }
  }
}

/// Collects output and writes it in large pieces.
struct OutputBuffer {
  private var bytes: [UInt8] = []
  private static let limit = 256 * 1024

  mutating func append(_ more: UnsafeRawBufferPointer) throws {
    bytes.append(contentsOf: more)
    try drainIfFull()
  }

  mutating func append(_ text: String) throws {
    bytes.append(contentsOf: text.utf8)
    try drainIfFull()
  }

  mutating func append(_ byte: UInt8) { bytes.append(byte) }

  private mutating func drainIfFull() throws { if bytes.count >= Self.limit { try flush() } }

  var isEmpty: Bool { bytes.isEmpty }

  /// What is here, instead of writing it.
  mutating func take() -> [UInt8] {
    defer { bytes.removeAll() }
    return bytes
  }

  mutating func flush() throws {
    guard !bytes.isEmpty else { return }
    defer { bytes.removeAll(keepingCapacity: true) }
    try Console.write(bytes, to: STDOUT_FILENO)
  }
}
