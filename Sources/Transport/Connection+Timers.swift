import NIOCore
import SkeinCore

/// Clocks of a connection: handshake, liveness, deadlines of calls, closing, and the wait for memory. What is too
/// slow or too old is in `Connection+Pace`.
///
/// The timers hold the connection strongly and are cancelled when its socket is gone: one weak reference
/// would send every retain and release of the hot path through a side table (measured: 15% of the CPU).
extension Connection {
  private func after(_ delay: TimeAmount, _ body: @escaping @Sendable () -> Void) -> Scheduled<Void> {
    eventLoop.scheduleTask(in: delay, body)
  }

  func armHandshake() {
    handshakeTask = after(limits.handshakeTimeout) {
      guard self.phase == .handshaking else { return }
      let failure = TLSFailure(kind: .other, text: "the TLS handshake took too long")
      self.role.failed(self, failure)
      self.shutDown(failure.text)
    }
  }

  /// How long a peer may take to close its side after we have closed ours.
  func armClose() {
    closeTask = after(limits.closeTimeout) { self.context?.close(promise: nil) }
  }

  func cancelTimers() {
    handshakeTask?.cancel()
    livenessTask?.cancel()
    deadlineTask?.cancel()
    closeTask?.cancel()
  }

  // MARK: Liveness

  func armLiveness() {
    var step = min(
      limits.keepaliveInterval, limits.keepaliveTimeout, limits.idleTimeout, limits.messageStallTimeout,
      limits.outboundStallTimeout, limits.headerTimeout)
    if let age = limits.maxCallAge {
      step = min(step, max(.nanoseconds(age.nanoseconds / 10), .milliseconds(5)))
    }
    livenessTask = after(step) { self.checkLiveness() }
  }

  private func checkLiveness() {
    guard phase == .open else { return }
    let now = eventLoop.now
    if let sent = pingSent, lastRead >= sent { pingSent = nil }
    if let sent = pingSent {
      if now - sent >= limits.keepaliveTimeout { return peerIsSilent() }
    } else if now - lastRead >= limits.keepaliveInterval {
      pingSent = now
      session?.ping()
      setNeedsPump()
    }
    if role.isServer, calls.isEmpty, now - lastCall >= limits.idleTimeout {
      report(.idle, "no call for \(limits.idleTimeout.nanoseconds / 1_000_000_000) s")
      return shutDown("idle")
    }
    if isTooSlow(now) { return }
    endStalledMessages(now)
    endAgedCalls(now)
    armLiveness()
  }

  private func peerIsSilent() {
    report(.peerSilent, "no answer to a PING")
    shutDown("the peer does not answer")
    // Nothing that we send will arrive: do not wait for it.
    context?.close(promise: nil)
  }

  // MARK: Deadlines

  /// Takes part in the one timer of the connection, which fires at the earliest deadline.
  func watchDeadline(_ call: Call) {
    guard let deadline = call.deadline, deadline < deadlineAt else { return }
    deadlineTask?.cancel()
    deadlineAt = deadline
    deadlineTask = eventLoop.scheduleTask(deadline: deadline) { self.checkDeadlines() }
  }

  private func checkDeadlines() {
    deadlineAt = .distantFuture
    let now = eventLoop.now
    var next: Call?
    var expired: [Call] = []
    for call in calls.values {
      guard let deadline = call.deadline else { continue }
      if deadline <= now {
        expired.append(call)
      } else if deadline < next?.deadline ?? .distantFuture {
        next = call
      }
    }
    for call in expired { call.abandon(.deadlinePassed) }
    if let next { watchDeadline(next) }
  }

  // MARK: Waiting for memory

  /// Input that waits until the memory budget has room again. Bounded: the socket is not read
  /// meanwhile, so it is what one read of the socket had delivered.
  struct Stall {
    let call: Call
    /// DATA of the call that follows its accepted prefix.
    var data: [UInt8]
    /// Decrypted bytes behind it.
    var plaintext: [UInt8] = []
    /// Bytes not yet decrypted.
    var ciphertext: [ByteBuffer] = []
    /// When the call is refused, unless something moves before.
    var until: NIODeadline
  }

  private static let stallRetry = TimeAmount.milliseconds(2)

  func beginStall(_ call: Call, _ rest: UnsafeRawBufferPointer) {
    stall = Stall(call: call, data: Array(rest), until: eventLoop.now + limits.budgetWait)
    setAutoRead(false)
    _ = after(Self.stallRetry) { self.retryStall() }
  }

  private func retryStall() {
    guard phase == .open, let stalled = stall else { return }
    let call = stalled.call
    if !call.isClosed {
      let rest = stalled.data.withUnsafeBytes { call.receive($0, budget: budget).map { Array($0) } }
      if let rest {
        let moves = rest.count < stalled.data.count
        stall?.data = rest
        if moves { stall?.until = eventLoop.now + limits.budgetWait }
        // What was delivered may be the very memory that is missing: let its handlers work it off.
        tellIdle()
        pump()
        guard moves || eventLoop.now < stalled.until else { return giveUp(call) }
        _ = after(Self.stallRetry) { self.retryStall() }
        return
      }
    }
    endStall()
  }

  private func giveUp(_ call: Call) {
    call.abandon(
      GRPCStatus(
        .resourceExhausted, "the memory budget for messages is spent; try again later", cause: .noMemory))
    endStall()
  }

  private func endStall() {
    guard let stalled = stall else { return }
    stall = nil
    isReading = true
    // Also when empty: nghttp2 has yet to finish the frame in which it paused.
    if let session { stalled.plaintext.withUnsafeBytes { parse($0, session) } }
    var waiting = stalled.ciphertext[...]
    while stall == nil, let buffer = waiting.popFirst() { take(buffer) }
    stall?.ciphertext.append(contentsOf: waiting)
    isReading = false
    if stall == nil { setAutoRead(true) }
    tellIdle()
    pump()
  }

  private func setAutoRead(_ on: Bool) {
    context?.channel.setOption(.autoRead, value: on).whenFailure { _ in }
  }
}

extension GRPCStatus {
  fileprivate static let deadlinePassed = GRPCStatus(
    .deadlineExceeded, "the deadline of the call has passed", cause: .deadlinePassed)
}
