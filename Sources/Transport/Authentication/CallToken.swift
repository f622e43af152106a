import COpenSSL
import NIOCore
import NIOPosix
import Synchronization

/// The bearer token that a client's connections show with every call: a value, or a file that is read again when it
/// changes. It prints as a placeholder, and leaves this process over TLS only.
///
/// Any thread. Event loops take what was read last; files are read elsewhere.
package final class CallToken: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  /// How long a file's content is taken as it was, in nanoseconds.
  private static let freshness = TimeAmount.seconds(1)

  private struct State {
    /// `Bearer …`; empty until the file was read.
    var header: [UInt8] = []
    /// Rises with every other token.
    var generation = 0
    var looked = NIODeadline.uptimeNanoseconds(0)
    var isLooking = false
  }

  private let path: String?
  private let state: Mutex<State>

  package init(file path: String) {
    self.path = path
    state = Mutex(State())
  }

  /// - Throws: when it is no token.
  package init(value: String) throws(TLSConfigurationError) {
    path = nil
    state = Mutex(State(header: try Self.header(Array(value.utf8), "the token")))
  }

  package var description: String { path.map { "a token of \($0) (not shown)" } ?? "a token (not shown)" }
  package var debugDescription: String { description }
  package var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }

  /// Which token it is now, for `changed`.
  package var generation: Int { state.withLock { $0.generation } }

  /// Reads the file. Blocks: not on an event loop.
  package func read() throws(TLSConfigurationError) {
    guard let path else { return }
    let header = try Self.header(try Self.bytes(path), "the token file \(path)")
    state.withLock { state in
      if state.header != header { state.generation += 1 }
      state.header = header
      state.looked = .now()
    }
  }

  /// Whether the file holds another token than at that generation. Blocks: not on an event loop.
  package func changed(since generation: Int) -> Bool {
    try? read()
    return self.generation != generation
  }

  /// For the next call. Looks at the file meanwhile when that was long ago.
  func header() -> [UInt8] {
    let (header, isDue) = state.withLock { state in
      let isDue = path != nil && !state.isLooking && .now() - state.looked > Self.freshness
      if isDue { state.isLooking = true }
      return (state.header, isDue)
    }
    if isDue {
      NIOThreadPool.singleton.submit { _ in
        // A file that cannot be read now may be in the middle of its replacement.
        try? self.read()
        self.state.withLock { state in
          state.isLooking = false
          state.looked = .now()
        }
      }
    }
    return header
  }

  private static func header(_ text: [UInt8], _ what: String) throws(TLSConfigurationError) -> [UInt8] {
    let blanks = Array(" \t\r\n".utf8)
    var token = text[...]
    while let last = token.last, blanks.contains(last) { token.removeLast() }
    while let first = token.first, blanks.contains(first) { token.removeFirst() }
    let header = Array("Bearer ".utf8) + token
    guard CallCredential(authorization: [header]) != nil else {
      throw TLSConfigurationError(
        description:
          "\(what) holds no token: it must be one line of 1 to \(CallCredential.maximumBytes) of A-Z a-z 0-9 - . _ ~ + / ="
      )
    }
    return header
  }

  private static func bytes(_ path: String) throws(TLSConfigurationError) -> [UInt8] {
    ERR_clear_error()
    guard let bio = BIO_new_file(path, "r") else {
      throw TLSConfigurationError(description: "the token file \(path): \(PEM.lastError())")
    }
    defer { BIO_free(bio) }
    // Some bytes more than the longest token with its line's end show that there is too much.
    var bytes = [UInt8](repeating: 0, count: CallCredential.maximumBytes + 16)
    let count = BIO_read(bio, &bytes, Int32(bytes.count))
    return Array(bytes.prefix(max(0, Int(count))))
  }
}
