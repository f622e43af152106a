import NIOCore
import SkeinCore

/// How what was granted ends: the token expires, or is judged anew and found bad.
extension AuthenticationDesk {
  /// The wall clock may jump and a machine may sleep: look again at least this often.
  private static let longestWaitMilliseconds: Int64 = 60_000

  /// How long before the end of their token running calls are asked to end.
  func graceMilliseconds(_ connection: Connection) -> Int64 {
    connection.limits.goAwayGrace.nanoseconds / 1_000_000
  }

  // MARK: Expiry

  /// Sets the one timer: calls are asked to end some time before their token's last moment, and cut at it.
  func watchExpiry(_ connection: Connection) {
    let now = configuration.wallMilliseconds()
    let grace = graceMilliseconds(connection)
    var next: Int64?
    var expired: [CallCredential.Key] = []
    for (key, entry) in entries {
      guard let end = entry.identity?.expiresMilliseconds else { continue }
      if end <= now {
        expired.append(key)
      } else if end - grace <= now {
        askToEnd(key, in: end - now, connection)
        next = min(next ?? end, end)
      } else {
        next = min(next ?? end, end - grace)
      }
    }
    for key in expired { forget(key, .tokenExpired, connection) }
    expiryTask?.cancel()
    guard connection.phase == .open, let next else { return }
    let wait = min(max(next - now, 1), Self.longestWaitMilliseconds)
    expiryTask = connection.eventLoop.scheduleTask(in: .milliseconds(wait)) {
      guard connection.phase == .open else { return }
      self.watchExpiry(connection)
      self.finishTurn(connection)
    }
  }

  private func askToEnd(_ key: CallCredential.Key, in milliseconds: Int64, _ connection: Connection) {
    let deadline = connection.eventLoop.now + .milliseconds(milliseconds)
    for call in calls(of: key, connection) where !call.isHeld && call.gate?.wasAskedToEnd == false {
      call.gate?.wasAskedToEnd = true
      call.handler?.shouldEnd(by: deadline)
    }
  }

  // MARK: Judged anew

  /// What was granted to these identities may not hold any more. Tokens of running calls are judged again,
  /// the others at their next use.
  func credentialsChanged(_ concerns: (CallIdentity) -> Bool, _ connection: Connection) {
    guard connection.phase == .open else { return }
    for (key, entry) in entries {
      guard case .valid(let identity) = entry.state, concerns(identity) else { continue }
      if calls(of: key, connection).isEmpty {
        entries[key] = nil
      } else {
        entries[key]?.state = .rechecking(identity, since: connection.eventLoop.now)
        ask(key, connection)
      }
    }
    finishTurn(connection)
  }

  /// A token is not, or no longer, good: its calls end now, and with the last one that was good the connection.
  func forget(_ key: CallCredential.Key, _ status: GRPCStatus, _ connection: Connection) {
    let wasGood = entries.removeValue(forKey: key)?.identity != nil
    let explained = (connection.role as? ServerRole)?.explained(status) ?? status
    for call in calls(of: key, connection) {
      if call.isHeld { refuse(call, status, connection) } else { call.abandon(explained) }
    }
    guard wasGood, connection.phase == .open, !entries.values.contains(where: { $0.identity != nil })
    else { return }
    connection.report(.authenticationRefused, "the last valid token of a connection has ended")
    (connection.role as? ServerRole)?.goAway(connection, "the connection's token has ended")
  }
}

extension AuthenticationDesk.Entry {
  /// Who it was found to be.
  var identity: CallIdentity? {
    switch state {
    case .asking: nil
    case .valid(let identity), .rechecking(let identity, _): identity
    }
  }
}

extension GRPCStatus {
  fileprivate static let tokenExpired = GRPCStatus(
    .unauthenticated, "the token of this call has expired; come again with a new one",
    cause: .credentialInvalid)
}
