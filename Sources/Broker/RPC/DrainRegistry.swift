import NIOCore
import Synchronization
import Transport

/// A long-lived stream that wants to say good-bye before the broker stops (stream rule 4).
protocol DrainableStream: AnyObject, Sendable {
  var eventLoop: any EventLoop { get }
  /// On `eventLoop`: send `GoAway`, accept nothing new, end with OK when all is answered.
  func goAway(deadlineMilliseconds: Int64)
}

extension DrainableStream where Self: CallHandler {
  /// Its connection or itself is too old, or its client's certificate has ended: the same good-bye.
  func shouldEnd(by deadline: NIODeadline) {
    goAway(deadlineMilliseconds: max(0, (deadline - eventLoop.now).nanoseconds / 1_000_000))
  }
}

/// The open streams. Threading: any thread.
final class DrainRegistry: Sendable {
  private struct Entry: Sendable { weak var stream: (any DrainableStream)? }
  private let streams = Mutex<[ObjectIdentifier: Entry]>([:])

  /// Streams that are open.
  var count: Int { streams.withLock { $0.count } }

  func add(_ stream: any DrainableStream) {
    streams.withLock { $0[ObjectIdentifier(stream)] = Entry(stream: stream) }
  }

  func remove(_ stream: any DrainableStream) {
    _ = streams.withLock { $0.removeValue(forKey: ObjectIdentifier(stream)) }
  }

  func goAway(deadlineMilliseconds: Int64) {
    for entry in streams.withLock({ Array($0.values) }) {
      guard let stream = entry.stream else { continue }
      stream.eventLoop.execute { stream.goAway(deadlineMilliseconds: deadlineMilliseconds) }
    }
  }
}
