import NIOCore
import SkeinCore
import Transport
import Wire

/// One Bind or Rollback: takes the request, then tells how the swap goes. Confined to the connection's loop.
///
/// A swap tells at most nine messages, so none is held back however slowly they are read. The caller may go:
/// before the commit that ends the swap, after it the broker goes on alone.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class SwapStreamHandler: CallHandler, DrainableStream, @unchecked Sendable {
  private let call: Call
  private let context: BrokerContext
  private let order: (SharedBytes) throws(Fault) -> Swap.Order
  private var listener: SwapListener?
  private var isOver = false
  let eventLoop: any EventLoop

  init(call: Call, context: BrokerContext, order: @escaping (SharedBytes) throws(Fault) -> Swap.Order) {
    self.call = call
    self.context = context
    self.order = order
    self.eventLoop = call.eventLoop
    context.streams.add(self)
  }

  func received(_ message: SharedBytes) {
    defer { call.release(message.count) }
    guard !isOver else { return }
    do throws(Fault) {
      guard listener == nil else {
        throw Fault(.malformedMessage, "this method takes exactly one message; this stream got more")
      }
      let order = try order(message)
      let listener = SwapListener(
        time: context.time,
        progress: { progress in self.eventLoop.execute { self.send(progress) } },
        end: { fault in self.eventLoop.execute { self.finish(fault) } })
      self.listener = listener
      let swap = Swap(context: context, order: order, listener: listener)
      try context.admin.submit { await swap.run() }
    } catch {
      finish(error)
    }
  }

  func receivedEnd() {
    guard listener == nil, !isOver else { return }
    finish(Fault(.malformedMessage, "this method takes exactly one message; this stream got none"))
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    listener?.leave()
    end()
  }

  func goAway(deadlineMilliseconds: Int64) {
    finish(
      Fault(
        .draining, "the broker is stopping; what was committed stays, and a watch goes on after the start"))
  }

  private func send(_ progress: BindProgress) {
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
  }
}
