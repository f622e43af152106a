internal import SkeinCore

/// What members say while they are members, and when they go.
extension GroupCoordinator {
  // MARK: Heartbeat

  mutating func hear(_ heartbeat: Heartbeat, _ session: SessionID, _ turn: inout Turn) throws(Fault)
    -> GroupReply
  {
    let key = heartbeat.group
    let member: GroupMember
    do throws(Fault) {
      member = try self.member(heartbeat.memberID, in: key, epoch: heartbeat.epoch)
    } catch {
      watch(heartbeat.memberID, of: key, on: session)
      throw error
    }
    if let subscription = heartbeat.subscription {
      let wrong = Self.problems(subscription)
      guard wrong.isEmpty else {
        throw Fault(.invalidRequest, "the subscription is wrong", violations: Array(wrong.prefix(20)))
      }
      try checkSize(subscription, group: key)
    }
    if let owned = heartbeat.owned, heartbeat.epoch == member.assignment.epoch,
      !member.assignment.assigned.keys.allSatisfy(owned.contains)
    {
      // It dropped what nobody asked it to: nobody would ever read that again. It must join anew.
      throw expel(heartbeat.memberID, of: key, &turn)
    }
    let isNewStream = runtime[key]?.liveness[heartbeat.memberID]?.session != session
    bind(heartbeat.memberID, of: key, to: session, at: turn.now)
    progress(heartbeat.progress, of: heartbeat.memberID, in: key, at: turn.now)
    if let owned = heartbeat.owned { release(heartbeat, owned: owned, &turn) }
    if let subscription = heartbeat.subscription {
      change(subscription, of: heartbeat.memberID, in: key, &turn)
    }

    let now = table.groups[key]?.members[heartbeat.memberID]?.assignment ?? member.assignment
    // Behind, asked to give back, or on another stream: whatever was sent may be lost, so it is sent again.
    if isNewStream || heartbeat.epoch < now.epoch || !now.revoking.isEmpty {
      push(heartbeat.memberID, of: key, &turn)
    }
    return .alive(epoch: now.epoch)
  }

  /// Partitions under revocation that the list lacks are released, **if the list was made in the member's current
  /// epoch**: a list from before a grant does not speak of it (ADR 0011).
  private mutating func release(_ heartbeat: Heartbeat, owned: Set<TopicPartition>, _ turn: inout Turn) {
    let key = heartbeat.group
    guard var assignment = table.groups[key]?.members[heartbeat.memberID]?.assignment,
      !assignment.revoking.isEmpty,
      heartbeat.epoch == assignment.epoch || configuration.breakages.contains(.releaseInAnyEpoch)
    else { return }
    let kept = assignment.revoking.filter { owned.contains($0.key) }
    guard kept.count < assignment.revoking.count else { return }
    let released = assignment.revoking.keys.filter { kept[$0] == nil }
    assignment.revoking = kept
    propose(.assignment(key, heartbeat.memberID, assignment), &turn)
    if kept.isEmpty { runtime[key]?.liveness[heartbeat.memberID]?.revocationDeadline = nil }
    if !configuration.breakages.contains(.forgetReleased) {
      reconcile(key, released: released, by: heartbeat.memberID, &turn)
    }
  }

  private mutating func change(
    _ subscription: Subscription, of member: String, in key: GroupKey, _ turn: inout Turn
  ) {
    guard var profile = table.groups[key]?.members[member]?.profile, profile.subscription != subscription
    else {
      return
    }
    profile.subscription = subscription
    raise(key, &turn)
    propose(.member(key, member, profile), &turn)
    reassign(key, &turn)
    resolve(subscription, of: key, isFirst: false, &turn)
  }

  // MARK: Leave

  mutating func leave(_ request: LeaveRequest, _ turn: inout Turn) throws(Fault) -> GroupReply {
    let key = request.group
    guard let member = table.groups[key]?.members[request.memberID] else {
      throw unknown(request.memberID, key)
    }
    guard request.isTemporary, member.profile?.instanceID != nil else {
      remove(request.memberID, from: key, telling: nil, &turn)
      changed(key, &turn)
      return .left
    }
    // It dropped everything: what it had waits for its successor, what it was giving back is free.
    unbind(request.memberID, of: key)
    runtime[key]?.liveness[request.memberID]?.revocationDeadline = nil
    runtime[key]?.liveness[request.memberID]?.processingDeadline = nil
    let until = sessionEnd(from: turn.now)
    runtime[key]?.liveness[request.memberID]?.sessionDeadline = until
    if !member.assignment.revoking.isEmpty {
      var assignment = member.assignment
      assignment.revoking = [:]
      propose(.assignment(key, request.memberID, assignment), &turn)
      reconcile(key, targets: nil, &turn)
    }
    return .left
  }

  // MARK: Common

  /// The member, if it is one and `epoch` is of its present membership: from its joining up to now. Older epochs of
  /// that range are what a message on its way looks like (G5).
  func member(_ id: String, in key: GroupKey, epoch: Int32) throws(Fault) -> GroupMember {
    guard let member = table.groups[key]?.members[id], let profile = member.profile else {
      throw unknown(id, key)
    }
    guard epoch >= profile.joinEpoch, epoch <= member.assignment.epoch else {
      throw stale(epoch, profile.joinEpoch...max(member.assignment.epoch, profile.joinEpoch), key)
    }
    return member
  }

  private func unknown(_ id: String, _ key: GroupKey) -> Fault {
    Fault(
      .unknownMember,
      "the group \(key.name.displayable) has no member \(id.displayable): it left, or was removed; drop all partitions and join with a new id",
      metadata: ["group": key.name, "member_id": id])
  }

  func stale(_ epoch: Int32, _ valid: ClosedRange<Int32>, _ key: GroupKey) -> Fault {
    Fault(
      .staleMemberEpoch,
      "the epoch \(epoch) is not in \(valid.lowerBound)...\(valid.upperBound), the member's present ones",
      metadata: [
        "group": key.name, "epoch": "\(epoch)", "first": "\(valid.lowerBound)", "last": "\(valid.upperBound)",
      ])
  }

  func notFound(_ key: GroupKey) -> Fault {
    Fault(
      .groupNotFound, "there is no group \(key.name.displayable); `skein group list` shows those there are",
      metadata: ["group": key.name])
  }
}
