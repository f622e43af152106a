import NIOCore
import SkeinCore
import Synchronization
import Transport

/// One call of our client, driven step by step from a task.
final class Conversation: Sendable {
  /// How the call ended.
  struct End: Sendable {
    var initial: Metadata?
    var status: GRPCStatus
    var trailers: Metadata
    /// For each message in order: it came compressed.
    var compressed: [Bool] = []
  }

  private let call: Call
  private let listener: Listener

  /// - Parameter compresses: announce gzip and use it, but for messages sent `plain`.
  init(
    _ connection: GRPCConnection, _ path: String, _ metadata: Metadata = Metadata(),
    deadline: NIODeadline? = nil, compresses: Bool = false
  ) {
    let listener = Listener()
    self.listener = listener
    call = connection.open(path: path, metadata: metadata, deadline: deadline) { call in
      listener.call.withLock { $0 = call }
      if compresses { call.compressWithGzip() }
      return listener
    }
  }

  func send(_ bytes: [UInt8], plain: Bool = false) {
    call.eventLoop.execute { [call] in call.send(OutboundMessage(head: bytes), plain: plain) }
  }
  func end() { call.eventLoop.execute { [call] in call.sendEnd() } }
  func cancel() { call.eventLoop.execute { [call] in call.cancel() } }

  /// The next message; nil once the call is over and all are taken.
  func message() async -> [UInt8]? {
    for await message in listener.messages { return message }
    return nil
  }

  /// All messages that are still to come, and the end.
  func rest() async -> ([[UInt8]], End) {
    var messages: [[UInt8]] = []
    while let message = await message() { messages.append(message) }
    return (
      messages, listener.end.withLock { $0 ?? End(status: GRPCStatus(.internal, "no end"), trailers: [:]) }
    )
  }

  private final class Listener: CallHandler, Sendable {
    let messages: AsyncStream<[UInt8]>
    let call = Mutex<Call?>(nil)
    let end = Mutex<End?>(nil)
    private let initial = Mutex<Metadata?>(nil)
    private let compressed = Mutex<[Bool]>([])
    private let sink: AsyncStream<[UInt8]>.Continuation

    init() { (messages, sink) = AsyncStream.makeStream() }

    func receivedHeaders(_ metadata: Metadata) { initial.withLock { $0 = metadata } }

    func received(_ message: SharedBytes) {
      let call = call.withLock { $0 }
      compressed.withLock { $0.append(call?.receivedCompressed == true) }
      sink.yield(message.array)
      call?.release(message.count)
    }

    func closed(_ status: GRPCStatus, _ trailers: Metadata) {
      let headers = initial.withLock { $0 }
      let flags = compressed.withLock { $0 }
      end.withLock { $0 = End(initial: headers, status: status, trailers: trailers, compressed: flags) }
      call.withLock { $0 = nil }
      sink.finish()
    }
  }
}

/// A check of a case that did not hold.
struct Mismatch: Error, CustomStringConvertible {
  let description: String
}

func expect(_ holds: Bool, _ what: @autoclosure () -> String) throws {
  guard holds else { throw Mismatch(description: what()) }
}
