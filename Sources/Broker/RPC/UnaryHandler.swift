import NIOCore
import SkeinCore
import Transport
import Wire

/// Receives one request message and its half-close, then runs the method once. Confined to the
/// connection's loop.
final class UnaryHandler: CallHandler {
  private let call: Call
  private let reply: UnaryReply
  private let method: (SharedBytes, UnaryReply) -> Void
  private var message: SharedBytes?
  private var failed = false

  init(_ call: Call, method: @escaping (SharedBytes, UnaryReply) -> Void) {
    self.call = call
    self.reply = UnaryReply(call)
    self.method = method
  }

  func received(_ message: SharedBytes) {
    guard self.message == nil, !failed else {
      failed = true
      return reply.fail(
        Fault(.malformedMessage, "a unary call takes exactly one message; this one got more"))
    }
    self.message = message
  }

  func receivedEnd() {
    guard !failed else { return }
    guard let message else {
      failed = true
      return reply.fail(
        Fault(.malformedMessage, "a unary call takes exactly one message; this one got none"))
    }
    self.message = nil
    reply.requestBytes = message.count
    method(message, reply)
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    failed = true
    message = nil
    reply.closed()
  }
}

/// The one answer of a unary call. May be used from any thread; acts on the call's loop, once.
///
/// `@unchecked Sendable`: state is touched on the call's event loop only.
final class UnaryReply: @unchecked Sendable {
  private let call: Call
  private var done = false
  private var onClosed: (() -> Void)?
  fileprivate var requestBytes = 0

  let eventLoop: any EventLoop

  init(_ call: Call) {
    self.call = call
    self.eventLoop = call.eventLoop
  }

  var peer: PeerIdentity { call.peer }

  /// Runs `action` if the caller goes away before the answer. On the call's loop.
  func whenClosed(_ action: @escaping () -> Void) { onClosed = action }

  fileprivate func closed() {
    done = true
    let action = onClosed
    onClosed = nil
    action?()
  }

  func succeed(_ message: [UInt8]) { succeed(OutboundMessage(head: message, parts: [])) }

  func succeed(_ message: OutboundMessage) {
    onLoop { reply in
      reply.call.send(message)
      reply.call.finish(.ok)
    }
  }

  func fail(_ fault: Fault) {
    onLoop { reply in reply.call.finish(GRPCStatus(fault)) }
  }

  private func onLoop(_ action: @escaping @Sendable (UnaryReply) -> Void) {
    if eventLoop.inEventLoop {
      act(action)
    } else {
      eventLoop.execute { self.act(action) }
    }
  }

  private func act(_ action: (UnaryReply) -> Void) {
    guard !done else { return }
    done = true
    onClosed = nil
    action(self)
    call.release(requestBytes)
  }
}

extension GRPCStatus {
  /// What the transport refused by itself, as a fault of the catalogue.
  @Sendable static func explained(_ status: GRPCStatus) -> GRPCStatus {
    switch status.cause {
    case .messageTooLarge(let limit):
      GRPCStatus(Fault(.messageTooLarge, status.message, metadata: ["limit": String(limit)]))
    case .noMemory:
      GRPCStatus(Fault(.overloaded, status.message, retryAfterMilliseconds: 1_000))
    case .methodUnknown: GRPCStatus(Fault(.methodUnknown, status.message))
    case .encodingUnsupported: GRPCStatus(Fault(.encodingUnsupported, status.message))
    case .peerTooSlow: GRPCStatus(Fault(.clientTooSlow, status.message))
    case .malformedFraming: GRPCStatus(Fault(.framingInvalid, status.message))
    case .malformedRequest(let header):
      GRPCStatus(
        Fault(
          .invalidRequest, status.message,
          violations: [Fault.FieldViolation(field: header, description: status.message)]))
    case .deadlinePassed: GRPCStatus(Fault(.deadlineExceeded, status.message))
    case .credentialInvalid: GRPCStatus(Fault(.tokenInvalid, status.message))
    case .authenticatorUnavailable:
      GRPCStatus(Fault(.authenticatorUnavailable, status.message, retryAfterMilliseconds: 1_000))
    case nil: status
    }
  }

  /// The status of a fault, with its details.
  init(_ fault: Fault) {
    self.init(fault.code, fault.message, details: fault.statusMessage)
  }
}
