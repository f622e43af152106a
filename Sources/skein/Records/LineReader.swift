import Dispatch
import Foundation
import Glibc

/// Reads lines from a descriptor with one bounded buffer; a line's bytes are valid inside the closure.
struct LineReader: ~Copyable {
  /// The broker's limit for a record; a longer line could not be stored anyway.
  static let maxLineBytes = 8 * 1024 * 1024
  private static let step = 256 * 1024

  private let descriptor: Int32
  private let closes: Bool
  private var buffer = [UInt8](repeating: 0, count: step)
  private var start = 0
  private var end = 0
  private var isAtEnd = false
  private(set) var lineNumber = 0

  /// - Parameter path: nil is stdin.
  init(path: String?) throws {
    guard let path else {
      descriptor = STDIN_FILENO
      closes = false
      return
    }
    let handle = FileHandle(forReadingAtPath: path)
    guard let handle else { throw UsageError("cannot read \(path): \(String(cString: strerror(errno)))") }
    descriptor = dup(handle.fileDescriptor)
    closes = true
  }

  deinit { if closes { close(descriptor) } }

  /// Calls `body` with the next line, without its newline; false at the end of the input.
  mutating func next(_ body: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
    var searched = start
    while true {
      if let newline = index(of: 0x0a, from: searched) {
        try emit(newline, body)
        start = newline + 1
        return true
      }
      searched = end
      if isAtEnd {
        guard start < end else { return false }
        try emit(end, body)
        start = end
        return true
      }
      searched -= start
      try fill()
      searched += start
    }
  }

  /// Whether `next` would have to read from the descriptor.
  private var needsInput: Bool { !isAtEnd && index(of: 0x0a, from: start) == nil }

  /// Suspends until `next` will not block, without holding a thread of the concurrency runtime; ends
  /// early when the task is cancelled.
  func waitForInput() async {
    guard needsInput else { return }
    let descriptor = descriptor
    while !Task.isCancelled, !Self.isReadable(descriptor, milliseconds: 0) {
      await withCheckedContinuation { continuation in
        DispatchQueue.global().async {
          _ = Self.isReadable(descriptor, milliseconds: 100)
          continuation.resume()
        }
      }
    }
  }

  private static func isReadable(_ descriptor: Int32, milliseconds: Int32) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, milliseconds) != 0
  }

  private func index(of byte: UInt8, from: Int) -> Int? {
    guard from < end else { return nil }
    return buffer.withUnsafeBytes { bytes -> Int? in
      guard let base = bytes.baseAddress, let found = memchr(base + from, Int32(byte), end - from) else {
        return nil
      }
      return UnsafeRawPointer(found) - base
    }
  }

  private mutating func emit(_ stop: Int, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    lineNumber += 1
    let range = start..<stop
    try buffer.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[range])) }
  }

  private mutating func fill() throws {
    if start > 0 {
      buffer.withUnsafeMutableBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        memmove(base, base + start, end - start)
      }
      end -= start
      start = 0
    }
    if end == buffer.count {
      guard buffer.count < Self.maxLineBytes else {
        throw LocalFailure(
          "line \(lineNumber + 1) is longer than \(Self.maxLineBytes) bytes, the limit of a record; nothing of it was sent"
        )
      }
      buffer += [UInt8](repeating: 0, count: min(buffer.count, Self.maxLineBytes - buffer.count))
    }
    while true {
      let count = buffer.withUnsafeMutableBytes { bytes in
        bytes.baseAddress.map { Glibc.read(descriptor, $0 + end, bytes.count - end) } ?? 0
      }
      if count > 0 {
        end += count
        return
      }
      if count == 0 {
        isAtEnd = true
        return
      }
      guard errno == EINTR else {
        throw LocalFailure("cannot read the input: \(String(cString: strerror(errno)))")
      }
    }
  }
}
