internal import SkeinCore

/// Sessions and deadlines: who is there, and until when it must be heard of.
extension GroupCoordinator {
  // MARK: Sessions

  mutating func begin(_ member: String, of key: GroupKey, session: SessionID?, at now: GroupInstant) {
    if configuration.breakages.contains(.noDeadlineAfterRestart), session == nil {
      runtime[key, default: Runtime()].liveness[member] = MemberLiveness(sessionDeadline: .max)
      return
    }
    runtime[key, default: Runtime()].liveness[member] = MemberLiveness(
      session: session, heardAt: session == nil ? nil : now.monotonic,
      sessionDeadline: now.monotonic + times.session * 1_000_000)
    if let session { sessions[session] = (key, member) }
    if table.groups[key]?.members[member]?.assignment.revoking.isEmpty == false {
      limitRevocation(of: member, in: key, at: now)
    }
    arm(member, of: key)
  }

  /// The member is heard on this stream: the newest one counts.
  mutating func bind(_ member: String, of key: GroupKey, to session: SessionID, at now: GroupInstant) {
    guard let live = runtime[key]?.liveness[member] else { return }
    if live.session != session {
      unbind(member, of: key)
      if let (otherKey, other) = sessions[session] { unbind(other, of: otherKey) }
      runtime[key]?.liveness[member]?.session = session
      sessions[session] = (key, member)
    }
    let until = sessionEnd(from: now)
    runtime[key]?.liveness[member]?.heardAt = now.monotonic
    runtime[key]?.liveness[member]?.graceDeadline = nil
    runtime[key]?.liveness[member]?.sessionDeadline = until
    arm(member, of: key)
  }

  /// The member was refused on this stream. It is not heard (no deadline moves), but if it has no other stream, the end
  /// of this one counts: else who is sent away would hold its partitions for the whole session time.
  mutating func watch(_ member: String, of key: GroupKey, on session: SessionID) {
    guard let live = runtime[key]?.liveness[member], live.session == nil, sessions[session] == nil else {
      return
    }
    runtime[key]?.liveness[member]?.session = session
    sessions[session] = (key, member)
  }

  mutating func unbind(_ member: String, of key: GroupKey) {
    guard let session = runtime[key]?.liveness[member]?.session else { return }
    sessions[session] = nil
    runtime[key]?.liveness[member]?.session = nil
  }

  mutating func heard(_ session: SessionID, at now: GroupInstant) {
    guard let (key, member) = sessions[session] else { return }
    let until = sessionEnd(from: now)
    runtime[key]?.liveness[member]?.heardAt = now.monotonic
    runtime[key]?.liveness[member]?.sessionDeadline = until
  }

  mutating func lose(_ session: SessionID, at now: GroupInstant) {
    guard !configuration.breakages.contains(.ignoreLostStream), let (key, member) = sessions[session] else {
      return
    }
    unbind(member, of: key)
    let until = now.monotonic + times.reconnectGrace * 1_000_000
    runtime[key]?.liveness[member]?.graceDeadline = until
    arm(member, of: key)
  }

  // MARK: Deadlines

  func sessionEnd(from now: GroupInstant) -> Int64 { now.monotonic + times.session * 1_000_000 }

  private func processing(of member: String, in key: GroupKey) -> Int64 {
    (table.groups[key]?.members[member]?.profile?.processing ?? times.processing) * 1_000_000
  }

  mutating func progress(
    _ progress: Heartbeat.Progress, of member: String, in key: GroupKey, at now: GroupInstant
  ) {
    guard var live = runtime[key]?.liveness[member] else { return }
    let until = now.monotonic + processing(of: member, in: key)
    switch progress {
    case .idle: live.processingDeadline = nil
    case .working: live.processingDeadline = live.processingDeadline ?? until
    case .advanced:
      live.processingDeadline = until
      if live.revocationDeadline != nil { live.revocationDeadline = min(until, live.lastRevocationDeadline) }
    }
    runtime[key]?.liveness[member] = live
    arm(member, of: key)
  }

  mutating func limitRevocation(of member: String, in key: GroupKey, at now: GroupInstant) {
    guard !configuration.breakages.contains(.endlessRevocation), var live = runtime[key]?.liveness[member],
      live.revocationDeadline == nil
    else { return }
    live.lastRevocationDeadline = now.monotonic + times.handover * 1_000_000
    live.revocationDeadline = min(
      now.monotonic + processing(of: member, in: key), live.lastRevocationDeadline)
    runtime[key]?.liveness[member] = live
    arm(member, of: key)
  }

  private mutating func arm(_ member: String, of key: GroupKey) {
    guard let live = runtime[key]?.liveness[member], live.next < live.queuedAt else { return }
    runtime[key]?.liveness[member]?.queuedAt = live.next
    deadlines.insert(.init(time: live.next, group: key, member: member))
  }

  /// Removes whose time is over; each group divides anew once. After an outage that may be everybody at once, and one
  /// turn is one append: so a turn ends with the groups that fit, and the rest is due in the next one.
  mutating func expireMembers(_ turn: inout Turn) {
    var groups: Set<GroupKey> = []
    var room = limits.expiryBytes
    var rest: [DeadlineQueue.Entry] = []
    while let entry = deadlines.pop(due: turn.now.monotonic) {
      guard let live = runtime[entry.group]?.liveness[entry.member], live.queuedAt == entry.time else {
        continue
      }
      let cause = live.overdue(turn.now.monotonic)
      if cause != nil, !groups.contains(entry.group) {
        let size = table.groups[entry.group]?.changeBytes ?? 0
        guard groups.isEmpty || size <= room else {
          rest.append(entry)
          continue
        }
        room -= size
        groups.insert(entry.group)
      }
      runtime[entry.group]?.liveness[entry.member]?.queuedAt = .max
      guard let cause else {
        arm(entry.member, of: entry.group)
        continue
      }
      fail(entry.member, of: entry.group, cause, &turn)
    }
    for entry in rest { deadlines.insert(entry) }
    for key in groups.sorted() { changed(key, &turn) }
  }

  /// Removes a member that does not have what it was given. What it is told.
  mutating func expel(_ member: String, of key: GroupKey, _ turn: inout Turn) -> Fault {
    let fault = fail(member, of: key, .dropped, &turn)
    changed(key, &turn)
    return fault
  }

  @discardableResult
  private mutating func fail(
    _ member: String, of key: GroupKey, _ cause: MemberLiveness.Cause, _ turn: inout Turn
  ) -> Fault {
    if let profile = table.groups[key]?.members[member]?.profile {
      let (times, limit) = (times, limits.rememberedFailures)
      runtime[key]?.failures.failed(
        profile.instanceID ?? profile.processID, at: turn.now.monotonic, times: times, limit: limit)
      turn.outputs.append(
        .memberRemoved(key, member: member, client: profile.client, why: cause.rawValue))
    }
    let fault = Fault(
      .memberExpired,
      "the member was removed from the group \(key.name.displayable): \(cause.rawValue); drop all partitions and join again",
      metadata: ["group": key.name, "member_id": member, "cause": "\(cause)"])
    remove(member, from: key, telling: fault, &turn)
    return fault
  }

  /// Takes a member out; what it had is free. The caller divides anew.
  mutating func remove(_ member: String, from key: GroupKey, telling fault: Fault?, _ turn: inout Turn) {
    if let fault, let session = runtime[key]?.liveness[member]?.session {
      turn.outputs.append(.push(session, .goAway(fault)))
    }
    unbind(member, of: key)
    runtime[key]?.liveness[member] = nil
    propose(.assignment(key, member, nil), &turn)
    propose(.member(key, member, nil), &turn)
  }
}
