import GroupCoordination
import Logging
import NIOCore
import SkeinCore
import Transport
import Wire

/// One MoveOffsets: takes the request, then tells how the move goes. Confined to the connection's loop.
///
/// A move tells a message for every thousand offsets, at most a few dozen, so none is held back however slowly they are
/// read. The caller may go: the move goes on to its end.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class MoveStreamHandler: CallHandler, DrainableStream, @unchecked Sendable {
  private let call: Call
  private let context: BrokerContext
  private let principal: Principal
  private var hasBegun = false
  private var isOver = false
  let eventLoop: any EventLoop

  init(call: Call, context: BrokerContext, principal: Principal) {
    self.call = call
    self.context = context
    self.principal = principal
    eventLoop = call.eventLoop
    context.streams.add(self)
  }

  func received(_ message: SharedBytes) {
    defer { call.release(message.count) }
    guard !isOver else { return }
    do throws(Fault) {
      guard !hasBegun else {
        throw Fault(.malformedMessage, "this method takes exactly one message; this stream got more")
      }
      hasBegun = true
      let request = try MoveOffsetsRequest(decoding: message)
      let key = try GroupsCheck.group(request.group, of: principal)
      let move = OffsetMove(
        offsets: context.groupOffsets, key: key, target: request.to, principal: principal.name,
        tell: { progress in self.eventLoop.execute { self.send(progress) } })
      try context.admin.submit { await self.carryOut(move) }
    } catch {
      finish(error)
    }
  }

  private func carryOut(_ move: OffsetMove) async {
    var fault: Fault?
    do throws(Fault) {
      try await move.run()
    } catch {
      fault = error
    }
    context.audit(
      fault == nil ? "offsets of a group moved" : "offsets of a group not moved", by: principal,
      ["group": move.key.name, "to": move.target, "problem": fault?.message ?? ""])
    let outcome = fault
    eventLoop.execute { self.finish(outcome) }
  }

  func receivedEnd() {
    guard !hasBegun, !isOver else { return }
    finish(Fault(.malformedMessage, "this method takes exactly one message; this stream got none"))
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { end() }

  func goAway(deadlineMilliseconds: Int64) {
    finish(Fault(.draining, "the broker is stopping; the same call ends the move after the start"))
  }

  private func send(_ progress: OffsetMove.Progress) {
    guard !isOver else { return }
    let message = MoveOffsetsProgress(
      step: progress.step, from: progress.from, to: progress.to, done: Int64(progress.done),
      total: Int64(progress.total))
    call.send(OutboundMessage(head: message.encoded(), parts: []))
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
