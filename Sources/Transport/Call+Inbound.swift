import NIOCore
import SkeinCore

/// What arrives on a call's stream. Loop only.
extension Call {
  /// DATA of the peer, in order. Returns the bytes that found no room in the memory budget: the
  /// connection must stop reading and give them again later.
  func receive(_ bytes: UnsafeRawBufferPointer, budget: MemoryBudget?) -> UnsafeRawBufferPointer? {
    if let gate, !gate.isOpen {
      hold(bytes, gate)
      return nil
    }
    if let http { return receiveBody(bytes, http, budget) }
    var input = bytes
    repeat {
      let before = input.count
      let step = inbound.next(&input, budget: budget)
      let took = before - input.count
      switch step {
      case .needMore:
        settle(took)
        return nil
      case .message(let message):
        settle(took)
        deliver(message)
      case .refused(.overBudget):
        settle(took)
        return input
      case .refused(let refusal):
        settle(took)
        settle(input.count)
        refuse(refusal)
        return nil
      }
    } while !input.isEmpty
    return nil
  }

  /// The peer's END_STREAM without a reset.
  func receiveEnd() {
    guard !isClosed, !endReceived else { return }
    if let gate, !gate.isOpen {
      gate.endHeld = true
      return
    }
    endReceived = true
    if let http { return receiveBodyEnd(http) }
    if inbound.isInsideMessage, isServer {
      return abandon(
        GRPCStatus(.internal, "the stream ended inside a message", cause: .malformedFraming))
    }
    handler?.receivedEnd()
  }

  /// Swallows what still arrives and returns its credit at once.
  func stopReceiving() {
    // Nothing is waited for any more: not for a token either.
    if isHeld { gate = nil }
    inbound.stop()
    http?.body.stop()
    if unreleased > 0 { returnCredit(unreleased) }
  }

  /// Accounts for bytes that the deframer has taken: prefixes and refused bytes are free at once,
  /// those of a message longer than the window too (their memory is reserved).
  private func settle(_ bytes: Int) {
    guard bytes > 0, let connection else { return }
    receivedBytes &+= bytes
    unreleased += bytes
    connection.unreleased += bytes
    if inbound.isRefusing {
      returnCredit(unreleased)
    } else if let length = inbound.pendingLength,
      length > Int(limits.streamWindowBytes) - OutboundQueue.prefixBytes
    {
      connection.consume(self, bytes)
      unreleased -= bytes
      returnedEarly += bytes
    }
  }

  func returnCredit(_ bytes: Int) {
    let early = min(bytes, returnedEarly)
    returnedEarly -= early
    let late = min(bytes - early, unreleased)
    guard late > 0 else { return }
    unreleased -= late
    connection?.consume(self, late)
  }

  private func deliver(_ message: SharedBytes) {
    returnCredit(OutboundQueue.prefixBytes)
    if let inflatedBy = inbound.inflatedBy { balance(inflatedBy) }
    guard let handler else { return returnCredit(message.count) }
    connection?.touch(self)
    handler.received(message)
  }

  /// The handler will release what it sees; the peer's credit is what was on the wire. The difference is
  /// returned now (compression that did not pay) or taken off the release.
  private func balance(_ inflatedBy: Int) {
    if inflatedBy < 0 {
      returnCredit(-inflatedBy)
    } else {
      returnedEarly += inflatedBy
    }
  }

  func refuse(_ refusal: MessageDeframer.Refusal) {
    switch refusal {
    case .tooLarge(let length, let limit):
      abandon(
        GRPCStatus(
          .resourceExhausted,
          "message of \(length) bytes exceeds the limit of \(limit) bytes; it was refused before it was read",
          cause: .messageTooLarge(limit: limit))
      )
    case .compressed:
      abandon(
        GRPCStatus(
          .internal, "a message is flagged as compressed, but the call announced no grpc-encoding",
          cause: .malformedFraming))
    case .corrupt:
      abandon(
        GRPCStatus(.internal, "a compressed message is not valid gzip", cause: .malformedFraming))
    case .inflatesTooLarge(let limit):
      abandon(
        GRPCStatus(
          .resourceExhausted, "a compressed message inflates to more than the limit of \(limit) bytes",
          cause: .messageTooLarge(limit: limit)))
    case .malformedPrefix:
      abandon(
        GRPCStatus(
          .internal, "malformed message prefix: the compressed flag is neither 0 nor 1",
          cause: .malformedFraming))
    case .overBudget(let length):
      abandon(
        GRPCStatus(
          .resourceExhausted, "no memory within the budget for a message of \(length) bytes; try again later",
          cause: .noMemory)
      )
    }
  }
}
