import NIOCore
import SkeinCore
import Transport
import Wire

/// A method that takes one message and tells how the operation goes that it began. Confined to the connection's loop.
///
/// Such operations tell at most a few dozen messages, so none is held back however slowly they are read. The caller may
/// go; whether the operation then goes on is the operation's affair.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class OperationStreamHandler<Progress: WireMessage>: CallHandler, DrainableStream, @unchecked Sendable {
  /// Whom an operation tells. Any thread.
  struct Caller: Sendable {
    fileprivate let handler: OperationStreamHandler

    func tell(_ progress: Progress) { handler.eventLoop.execute { handler.send(progress) } }
    /// Last.
    func end(_ fault: Fault?) { handler.eventLoop.execute { handler.finish(fault) } }
  }

  /// Begins the operation; the closure that it returns is called once, when nobody listens any more.
  typealias Begin = (SharedBytes, Caller) throws(Fault) -> () -> Void

  private let call: Call
  private let context: BrokerContext
  private let begin: Begin
  private let drainMessage: String
  private var leave: (() -> Void)?
  private var isOver = false
  let eventLoop: any EventLoop

  /// - Parameter drainMessage: what becomes of the operation when the broker stops.
  init(call: Call, context: BrokerContext, drainMessage: String, begin: @escaping Begin) {
    self.call = call
    self.context = context
    self.drainMessage = drainMessage
    self.begin = begin
    eventLoop = call.eventLoop
    context.streams.add(self)
  }

  func received(_ message: SharedBytes) {
    defer { call.release(message.count) }
    guard !isOver else { return }
    do throws(Fault) {
      guard leave == nil else {
        throw Fault(.malformedMessage, "this method takes exactly one message; this stream got more")
      }
      leave = try begin(message, Caller(handler: self))
    } catch {
      finish(error)
    }
  }

  func receivedEnd() {
    guard leave == nil, !isOver else { return }
    finish(Fault(.malformedMessage, "this method takes exactly one message; this stream got none"))
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { end() }

  func goAway(deadlineMilliseconds: Int64) {
    finish(Fault(.draining, "the broker is stopping; \(drainMessage)"))
  }

  private func send(_ progress: Progress) {
    guard !isOver else { return }
    call.send(OutboundMessage(head: progress.encoded(), parts: []))
  }

  private func finish(_ fault: Fault?) {
    guard !isOver else { return }
    end()
    call.finish(fault.map { GRPCStatus($0) } ?? .ok)
  }

  private func end() {
    guard !isOver else { return }
    isOver = true
    context.streams.remove(self)
    // The closure may hold the operation, which holds the caller: let go.
    leave?()
    leave = nil
  }
}
