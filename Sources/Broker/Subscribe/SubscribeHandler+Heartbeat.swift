import GroupCoordination
import NIOCore
import SkeinCore
import Transport
import Wire

/// Heartbeats both ways, and who is silent (stream rules 3 and 9, G11).
extension SubscribeHandler {
  // MARK: From the member

  /// What it has, and how far its application is. A list that gives partitions back waits until everything that was to
  /// be committed of them is; the rest of the heartbeat does not.
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
    if heartbeat.owned != nil { heldRelease = nil }
    let released = released(by: heartbeat)
    if !released.isEmpty, commitsInFlight > 0 || released.contains(where: hasToCommit) {
      heldRelease = heartbeat
      heldRelease?.subscription = nil
      heartbeat.owned = nil
    }
    // When it goes on it says no more of the application than the newest did.
    heldRelease?.progress = heartbeat.progress
    pass(heartbeat)
    settle()
  }

  /// What a list gives back: it was asked for, and the list is of the newest assignment (ADR 0011).
  private func released(by heartbeat: GroupCoordination.Heartbeat) -> [TopicPartition] {
    guard let owned = heartbeat.owned, heartbeat.epoch == epoch else { return [] }
    return partitions.values.filter { $0.isRevoking && !owned.contains($0.key) }.map(\.key)
  }

  private func hasToCommit(_ key: TopicPartition) -> Bool { partitions[key]?.ackToCommit != nil }

  /// Everything that was to be committed before it is.
  func passRelease() {
    guard let release = heldRelease else { return }
    heldRelease = nil
    pass(release)
  }

  /// One at a time is asked of the coordinator: those that come before it has answered become one, so that no member
  /// makes it work faster than it does, or gets answers faster than it asks.
  private func pass(_ heartbeat: GroupCoordination.Heartbeat) {
    guard let session else { return }
    guard !isHeartbeatAsked else {
      nextHeartbeat = nextHeartbeat.map { heartbeat.after($0) } ?? heartbeat
      return
    }
    for key in released(by: heartbeat) { drop(key) }
    isHeartbeatAsked = true
    lastAlive = .now()
    context.groups.ask(.heartbeat(heartbeat, session), of: heartbeat.group, on: eventLoop) { result in
      if case .closed = self.phase { return }
      switch result {
      case .success(.alive(let epoch)):
        self.sendHeartbeat(epoch: epoch)
        self.passNext()
      case .success: self.passNext()
      case .failure(let fault) where fault.reason == .overloaded:
        // What it gives back must not get lost: it is said again, with what has come meanwhile.
        self.nextHeartbeat = self.nextHeartbeat?.after(heartbeat) ?? heartbeat
        self.eventLoop.scheduleTask(in: .milliseconds(100)) { [weak self] in self?.passNext() }
      case .failure(let fault): self.end(with: fault)
      }
    }
  }

  private func passNext() {
    isHeartbeatAsked = false
    guard case .member = phase, let next = nextHeartbeat else { return }
    nextHeartbeat = nil
    pass(next)
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
  /// The same, saying also what an older one would have said that was not passed on.
  fileprivate func after(_ older: GroupCoordination.Heartbeat) -> GroupCoordination.Heartbeat {
    var both = self
    if owned == nil, older.owned != nil {
      // A list is of the epoch in which it was made (ADR 0011).
      both.owned = older.owned
      both.epoch = older.epoch
    }
    if older.progress == .advanced { both.progress = .advanced }
    both.subscription = subscription ?? older.subscription
    return both
  }
}
