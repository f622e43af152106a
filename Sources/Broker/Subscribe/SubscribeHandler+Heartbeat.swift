import GroupCoordination
import NIOCore
import SkeinCore
import Transport
import Wire

/// Heartbeats both ways, and who is silent (stream rules 3 and 9, G11).
extension SubscribeHandler {
  // MARK: From the member

  /// What it has, and how far its application is. A list that gives partitions back waits until everything that was to
  /// be committed of them is.
  func beat(_ message: MemberHeartbeat) throws(Fault) {
    guard let membership, case .member = phase else { return }
    var heartbeat = GroupCoordination.Heartbeat(
      group: membership.key, memberID: membership.id, epoch: message.epoch)
    if message.hasOwned { heartbeat.owned = try keys(message.owned, field: "heartbeat.owned", isOwned: true) }
    switch message.progress {
    case .idle: heartbeat.progress = .idle
    case .advanced: heartbeat.progress = .advanced
    default: heartbeat.progress = .working
    }
    if !message.topics.isEmpty || !message.patterns.isEmpty {
      heartbeat.subscription = try Membership.subscription(
        message.topics, message.patterns, context.groups.limits, membership.key)
    }
    if let held = heldHeartbeat { heartbeat.take(over: held.request) }
    var released: [TopicPartition] = []
    if let owned = heartbeat.owned {
      for (key, partition) in partitions where partition.isRevoking && !owned.contains(key) {
        released.append(key)
      }
    }
    guard !released.isEmpty, commitsInFlight > 0 || released.contains(where: hasToCommit) else {
      return forward(heartbeat, released)
    }
    heldHeartbeat = (heartbeat, released)
    alive()
    settle()
  }

  private func hasToCommit(_ key: TopicPartition) -> Bool { partitions[key]?.ackToCommit != nil }

  func forwardHeld() {
    guard let (request, released) = heldHeartbeat else { return }
    heldHeartbeat = nil
    forward(request, released)
  }

  private func forward(_ heartbeat: GroupCoordination.Heartbeat, _ released: [TopicPartition]) {
    guard let session else { return }
    heldHeartbeat = nil
    for key in released { drop(key) }
    lastAlive = .now()
    heartbeats += 1
    let number = heartbeats
    context.groups.ask(.heartbeat(heartbeat, session), of: heartbeat.group, on: eventLoop) { result in
      if case .closed = self.phase { return }
      switch result {
      case .success(.alive(let epoch)): self.sendHeartbeat(epoch: epoch)
      case .success: break
      case .failure(let fault) where fault.reason == .overloaded:
        // What it gives back must not get lost; a newer one may have been passed on meanwhile.
        self.eventLoop.scheduleTask(in: .milliseconds(100)) { [weak self] in
          guard let self, case .member = phase else { return }
          var again = heartbeat
          if number != heartbeats { again.subscription = nil }
          forward(again, [])
        }
      case .failure(let fault): self.end(with: fault)
      }
    }
  }

  /// Any message counts (stream rule 9).
  func heard() {
    lastHeard = .now()
    if isSuspect {
      isSuspect = false
      pump?.pump()
    }
    if lastHeard - lastAlive > .milliseconds(times.heartbeat / 2) { alive() }
  }

  private func alive() {
    guard let session, let membership, isJoined else { return }
    lastAlive = .now()
    context.groups.alive(session, of: membership.key)
  }

  // MARK: To the member

  /// Looks at what the clock has brought, and when to look again.
  func tick() {
    ticker = nil
    if case .closed = phase { return }
    let now = NIODeadline.now()
    let heartbeat = TimeAmount.milliseconds(times.heartbeat)
    let session = TimeAmount.milliseconds(times.session)
    if membership == nil, now >= lastHeard + session {
      return end(
        with: Fault(.streamNotOpen, "no `join` came within \(times.session) ms; send it as the first message")
      )
    }
    // The coordinator's own limit comes first, unless it cannot be asked.
    if now >= lastHeard + session + heartbeat {
      return end(
        with: Fault(
          .memberExpired, "nothing was heard of the member for \(times.session + times.heartbeat) ms",
          metadata: ["cause": "session"]))
    }
    isSuspect = now >= lastHeard + heartbeat * 3
    if isJoined, now >= lastSent + heartbeat { sendHeartbeat(epoch: epoch) }
    releaseBounded()
    var next = min(lastSent + heartbeat, lastHeard + session)
    if next <= now { next = now + heartbeat }
    if !bounded.isEmpty { next = min(next, now + Self.startPause) }
    ticker = eventLoop.scheduleTask(deadline: next) { [weak self] in self?.tick() }
  }
}

extension GroupCoordination.Heartbeat {
  /// Says also what an older one, which was not passed on, would have said.
  fileprivate mutating func take(over older: GroupCoordination.Heartbeat) {
    if owned == nil, older.owned != nil {
      // A list is of the epoch in which it was made (ADR 0011).
      owned = older.owned
      epoch = older.epoch
    }
    if older.progress == .advanced { progress = .advanced }
    subscription = subscription ?? older.subscription
  }
}
