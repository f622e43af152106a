import NIOCore
import SkeinCore

/// The planned ends of a server's connection: drain, age, and the end of the client's certificate.
extension ServerRole {
  /// GOAWAY: running calls go on, new ones are refused by nghttp2 as not processed.
  func drain(_ connection: Connection) {
    guard !connection.isDraining, connection.phase == .open else { return }
    connection.isDraining = true
    connection.session?.goAway()
    connection.setNeedsPump()
    // At the end of the tick: what the calls have queued is sent first.
    if connection.calls.isEmpty { connection.shutDown(drainReason) }
  }

  /// The same with a date: handlers are asked to end, and what is left then is cut.
  func goAway(_ connection: Connection, _ reason: String) {
    guard connection.phase == .open else { return }
    let grace = connection.limits.goAwayGrace
    let deadline = connection.eventLoop.now + grace
    for call in connection.calls.values { call.handler?.shouldEnd(by: deadline) }
    drainReason = reason
    drain(connection)
    endTask?.cancel()
    endTask = connection.eventLoop.scheduleTask(in: grace) { connection.shutDown(reason) }
  }

  // MARK: Certificate and age

  /// The wall clock may jump and a machine may sleep: look again at least this often.
  private static let longestWait = TimeAmount.minutes(5)

  /// Begins to wait for the end of the client's certificate, and for the connection's age.
  func watchEnd(_ connection: Connection) {
    let age = connection.limits.maxConnectionAge.map { age in
      connection.eventLoop.now + Self.spread(age, server.configuration.random.next())
    }
    lookAtEnd(connection, age)
  }

  private func lookAtEnd(_ connection: Connection, _ age: NIODeadline?) {
    guard connection.phase == .open else { return }
    var wait = Self.longestWait
    if let end = connection.peer.certificateNotAfter {
      let left = end - server.configuration.wallSeconds()
      if left < 0 {
        connection.report(.certificateEnded, "the client's certificate has expired")
        return goAway(connection, "the client's certificate has expired")
      }
      // Valid to the end of its last second.
      wait = min(wait, .seconds(min(left, 86_400) + 1))
    }
    if let age {
      let now = connection.eventLoop.now
      guard now < age else { return goAway(connection, "the connection has reached its greatest age") }
      wait = min(wait, age - now)
    } else if connection.peer.certificateNotAfter == nil {
      return
    }
    endTask = connection.eventLoop.scheduleTask(in: wait) { self.lookAtEnd(connection, age) }
  }

  /// New revocation lists are in force.
  func recheck(_ connection: Connection, _ context: TLSContext) {
    guard connection.phase == .open, connection.tls.isRevoked(by: context) else { return }
    connection.report(.certificateEnded, "the client's certificate has been revoked")
    goAway(connection, "the client's certificate has been revoked")
  }

  /// A tenth up or down.
  static func spread(_ amount: TimeAmount, _ random: UInt64) -> TimeAmount {
    let tenth = max(1, amount.nanoseconds / 10)
    return .nanoseconds(amount.nanoseconds - tenth + Int64(random % UInt64(2 * tenth)))
  }
}
