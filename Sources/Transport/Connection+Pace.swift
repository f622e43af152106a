import NIOCore
import SkeinCore

/// Who is too slow, looked at with each step of the liveness timer: no clock is read and no timer is set on
/// the way of a message.
extension Connection {
  /// The connection as a whole: a frame or header block that does not come to its end, a socket that takes
  /// nothing. True: it is being closed.
  func isTooSlow(_ now: NIODeadline) -> Bool {
    if let unwritable, role.isServer, now - unwritable >= limits.outboundStallTimeout {
      report(.tooSlow, "it reads nothing")
      shutDown("the peer reads nothing")
      // Nothing that we send will arrive: do not wait for it.
      context?.close(promise: nil)
      return true
    }
    guard stall == nil, meter.isWaiting else {
      stuck = nil
      return false
    }
    guard let stuck, stuck.units == meter.units else {
      self.stuck = (meter.units, now)
      return false
    }
    guard now - stuck.since >= limits.headerTimeout else { return false }
    fail(.tooSlow, "a frame or header block was begun and not sent to its end in time")
    return true
  }

  /// Calls whose message does not come, or whose answers are not read.
  func endStalledMessages(_ now: NIODeadline) {
    // While we do not read, or owe credit, nobody else is slow.
    let isOurs = stall != nil || owedCredit > 0
    var slow: [(Call, GRPCStatus)] = []
    for call in calls.values {
      if isOurs {
        call.forgetPace()
      } else if call.isReceivedTooSlowly(now) {
        slow.append((call, .messageTooSlow))
      } else if role.isServer, call.isReadTooSlowly(now) {
        slow.append((call, .answersUnread))
      }
    }
    for (call, status) in slow { call.abandon(status) }
  }

  /// Asks calls to end that are too old, and ends them when they do not.
  func endAgedCalls(_ now: NIODeadline) {
    guard role.isServer, let age = limits.maxCallAge else { return }
    var late: [Call] = []
    for call in calls.values {
      if let endBy = call.endBy {
        if now >= endBy { late.append(call) }
      } else if now - call.opened >= ServerRole.spread(age, UInt64(call.stream) &* 0x9e37_79b9_7f4a_7c15) {
        let endBy = now + limits.goAwayGrace
        call.endBy = endBy
        call.handler?.shouldEnd(by: endBy)
      }
    }
    for call in late {
      call.abandon(GRPCStatus(.unavailable, "the call has reached its greatest age; open it again"))
    }
  }
}

extension Call {
  /// What has moved since the last look, in one direction.
  struct Pace {
    /// Bytes moved in all at that time, and bytes that waited then.
    var moved: Int
    var waiting: Int
    var since: NIODeadline
  }

  func forgetPace() {
    inboundPace = nil
    outboundPace = nil
  }

  /// Whether a message whose memory is reserved comes too slowly, through no doing of ours: the peer has
  /// credit to go on.
  func isReceivedTooSlowly(_ now: NIODeadline) -> Bool {
    let assembling = http == nil ? inbound.filledBytes : http?.filledBytes
    guard let filled = assembling, unreleased <= filled + OutboundQueue.prefixBytes else {
      inboundPace = nil
      return false
    }
    return Self.isSlow(
      &inboundPace, moved: receivedBytes, waiting: .max, now, over: limits.messageStallTimeout,
      limits.minBytesPerSecond)
  }

  /// Whether answers wait and the peer does not take them.
  func isReadTooSlowly(_ now: NIODeadline) -> Bool {
    var waiting = outbound.count
    // Trailers wait behind a closed window as well.
    if case .trailers = ending { waiting += 1 }
    guard waiting > 0 else {
      outboundPace = nil
      return false
    }
    return Self.isSlow(
      &outboundPace, moved: sentBytes, waiting: waiting, now, over: limits.outboundStallTimeout,
      limits.minBytesPerSecond)
  }

  private static func isSlow(
    _ pace: inout Pace?, moved: Int, waiting: Int, _ now: NIODeadline, over stretch: TimeAmount,
    _ bytesPerSecond: Int
  ) -> Bool {
    guard let last = pace, moved &- last.moved < last.waiting else {
      pace = Pace(moved: moved, waiting: waiting, since: now)
      return false
    }
    let elapsed = now - last.since
    guard elapsed >= stretch else { return false }
    // At least one byte, however short the stretch.
    let least = max(1, Int(Double(bytesPerSecond) * Double(elapsed.nanoseconds) / 1e9))
    guard moved &- last.moved < least else {
      pace = Pace(moved: moved, waiting: waiting, since: now)
      return false
    }
    return true
  }
}

extension GRPCStatus {
  fileprivate static let messageTooSlow = GRPCStatus(
    .deadlineExceeded, "a message was begun and not sent to its end in time", cause: .peerTooSlow)
  fileprivate static let answersUnread = GRPCStatus(
    .deadlineExceeded, "the answers to this call were not read in time", cause: .peerTooSlow)
}
