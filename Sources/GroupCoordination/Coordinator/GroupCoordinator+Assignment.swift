internal import SkeinCore

/// From a change of the group to what every member is told: epoch, target, revocations, grants.
extension GroupCoordinator {
  // MARK: Epoch

  /// Raises the group's epoch, once a turn; creates the group if need be.
  mutating func raise(_ key: GroupKey, _ turn: inout Turn) {
    guard turn.raised.insert(key).inserted else { return }
    let floor = configuration.breakages.contains(.epochsBeginAnew) ? 0 : table.epochFloor
    var value =
      table.groups[key]?.value
      ?? GroupValue(epoch: floor, assignmentEpoch: floor, assignor: Assignor.standard.name, emptySince: nil)
    // Joins end long before the last epoch (GroupLimits.lastJoinableEpoch).
    if value.epoch < .max { value.epoch += 1 }
    value.emptySince = nil
    propose(.group(key, value), &turn)
  }

  /// Members went: the rest divides anew, or the group is empty from now on.
  mutating func changed(_ key: GroupKey, _ turn: inout Turn) {
    guard let group = table.groups[key] else { return }
    raise(key, &turn)
    if group.members.isEmpty {
      var value = table.groups[key]?.value ?? group.value
      value.emptySince = turn.now.wall
      value.assignmentEpoch = value.epoch
      propose(.group(key, value), &turn)
      return
    }
    reassign(key, &turn)
  }

  // MARK: Target

  /// Computes the target for the present epoch and moves everybody towards it. Call after `raise`.
  mutating func reassign(_ key: GroupKey, _ turn: inout Turn) {
    guard let group = table.groups[key] else { return }
    let assignor = preferredAssignor(group)
    if group.value.assignmentEpoch != group.value.epoch || group.value.assignor != assignor.name {
      var value = group.value
      value.assignmentEpoch = value.epoch
      value.assignor = assignor.name
      propose(.group(key, value), &turn)
    }
    let input = input(for: group)
    let sets = assignor.assign(input)
    var targets: [String: Set<TopicPartition>] = [:]
    for (index, member) in input.members.enumerated() { targets[member.id] = sets[index] }
    reconcile(key, targets: targets, &turn)
  }

  /// What most members ask for; where two are equal the present one, then the first by name (KIP-848).
  private func preferredAssignor(_ group: GroupState) -> Assignor {
    var votes: [String: Int] = [:]
    for member in group.members.values {
      if let name = member.profile?.assignor { votes[name, default: 0] += 1 }
    }
    func rank(_ vote: (key: String, value: Int)) -> (Int, Int, String) {
      (-vote.value, vote.key == group.value.assignor ? 0 : 1, vote.key)
    }
    let name = votes.min { rank($0) < rank($1) }?.key ?? Assignor.standard.name
    return (try? Assignor(named: name)) ?? .standard
  }

  private func input(for group: GroupState) -> AssignmentInput {
    var ids: [String: TopicID] = [:]
    for topic in group.topics.topics { ids[topic.name] = topic.id }
    var members: [AssignmentInput.Member] = []
    var owners: [TopicPartition: String] = [:]
    // Neighbours mostly subscribe to the same.
    var last: (subscription: Subscription, topics: Set<TopicID>) = (Subscription(), [])
    for (id, member) in group.members {
      guard let profile = member.profile else { continue }
      if profile.subscription != last.subscription {
        last = (profile.subscription, topics(of: profile.subscription, in: group, ids))
      }
      members.append(AssignmentInput.Member(id: id, labels: profile.labels, topics: last.topics))
      guard !configuration.breakages.contains(.notSticky) else { continue }
      for partition in member.assignment.target { owners[partition] = id }
    }
    return AssignmentInput(members: members, topics: group.topics.topics, owners: owners)
  }

  private func topics(
    of subscription: Subscription, in group: GroupState, _ ids: [String: TopicID]
  ) -> Set<TopicID> {
    var topics = Set(subscription.names.compactMap { ids[$0] })
    for pattern in subscription.patterns {
      for name in group.topics.patterns[pattern] ?? [] {
        if let topic = ids[name] { topics.insert(topic) }
      }
    }
    return topics
  }

  // MARK: Reconciliation

  /// Moves every member towards its target (G7-G9): what it shall not keep is under revocation at once; what it shall
  /// get is granted as soon as nobody else has it and the member itself gives nothing back.
  /// - Parameter targets: new targets, or nil for the present ones.
  mutating func reconcile(_ key: GroupKey, targets: [String: Set<TopicPartition>]?, _ turn: inout Turn) {
    // Most members are not concerned by most changes: they cost a comparison, not a copy.
    var concerned: [String] = []
    for (id, member) in table.groups[key]?.members ?? [:] {
      let target = targets?[id] ?? member.assignment.target
      if !member.assignment.isSettled || target != member.assignment.target { concerned.append(id) }
    }
    reconcile(concerned, of: key, targets: targets, &turn)
  }

  /// A member has given partitions back: only itself and those that wait for one of them can get anything by that.
  mutating func reconcile(
    _ key: GroupKey, released: some Sequence<TopicPartition>, by member: String, _ turn: inout Turn
  ) {
    var concerned: Set<String> = [member]
    for partition in released {
      if let heir = table.groups[key]?.heirs[partition] { concerned.insert(heir) }
    }
    reconcile(Array(concerned), of: key, targets: nil, &turn)
  }

  private mutating func reconcile(
    _ concerned: [String], of key: GroupKey, targets: [String: Set<TopicPartition>]?, _ turn: inout Turn
  ) {
    for id in concerned.sorted() {
      guard let old = table.groups[key]?.members[id]?.assignment else { continue }
      var next = old
      if let target = targets?[id] { next.target = target }
      revoke(&next)
      grant(&next, to: id, in: key, &turn)
      guard next != old else { continue }
      propose(.assignment(key, id, next), &turn)
      guard next.assigned != old.assigned || next.revoking != old.revoking else { continue }
      if !next.revoking.isEmpty { limitRevocation(of: id, in: key, at: turn.now) }
      push(id, of: key, &turn)
    }
  }

  private func revoke(_ assignment: inout MemberAssignment) {
    for (partition, epoch) in assignment.assigned where !assignment.target.contains(partition) {
      assignment.assigned[partition] = nil
      assignment.revoking[partition] = epoch
    }
  }

  /// Every grant raises the member's epoch above everything that was sent to it before: that is what makes lists and
  /// commits of earlier epochs recognisable (ADR 0011).
  private mutating func grant(
    _ assignment: inout MemberAssignment, to member: String, in key: GroupKey, _ turn: inout Turn
  ) {
    let breakages = configuration.breakages
    guard assignment.revoking.isEmpty || breakages.contains(.grantWhileRevoking) else { return }
    let owners = table.groups[key]?.owners ?? [:]
    let free = assignment.target.filter {
      assignment.grantEpoch($0) == nil && (owners[$0] == nil || breakages.contains(.grantBeforeRelease))
    }
    guard !free.isEmpty else { return }
    if !breakages.contains(.grantInTheSameEpoch) {
      raise(key, &turn)
      assignment.epoch = table.groups[key]?.value.epoch ?? assignment.epoch
    }
    for partition in free { assignment.assigned[partition] = assignment.epoch }
  }

  // MARK: Messages

  /// The member is told at the end of the turn what it has.
  func push(_ member: String, of key: GroupKey, _ turn: inout Turn) {
    turn.told[key, default: []].insert(member)
  }

  /// Tells those that are connected; the others hear it when they come back.
  func tell(_ turn: inout Turn) {
    for (key, members) in turn.told.sorted(by: { $0.key < $1.key }) {
      for id in members.sorted() {
        guard let live = runtime[key]?.liveness[id], let session = live.session,
          let member = table.groups[key]?.members[id], let profile = member.profile
        else { continue }
        let assignment = member.assignment
        let left = live.revocationDeadline.map { max(0, $0 - turn.now.monotonic) / 1_000_000 }
        let message = AssignmentMessage(
          epoch: assignment.epoch, joinEpoch: profile.joinEpoch, partitions: Set(assignment.assigned.keys),
          revoke: Set(assignment.revoking.keys), revokeWithin: assignment.revoking.isEmpty ? nil : left)
        turn.outputs.append(.push(session, .assignment(message)))
      }
    }
  }

  // MARK: Topics

  func subscription(of group: GroupState) -> Subscription {
    var names: Set<String> = []
    var patterns: Set<String> = []
    for member in group.members.values {
      guard let subscription = member.profile?.subscription else { continue }
      names.formUnion(subscription.names)
      patterns.formUnion(subscription.patterns)
    }
    return Subscription(names: Array(names), patterns: Array(patterns))
  }

  /// Asks the edge for what a member's subscription names and nobody has resolved yet; for a group that had no
  /// member, for everything, because nobody looked after its topics.
  func resolve(_ subscription: Subscription, of key: GroupKey, isFirst: Bool, _ turn: inout Turn) {
    guard let group = table.groups[key] else { return }
    let known = Set(group.topics.topics.map(\.name))
    let isKnown =
      subscription.names.allSatisfy(known.contains)
      && subscription.patterns.allSatisfy { group.topics.patterns[$0] != nil }
    if !isKnown || isFirst || group.members.count == 1 {
      turn.outputs.append(.resolve(key, self.subscription(of: group)))
    }
  }

  /// What cannot be taken is told, and the group goes on with what it had.
  mutating func take(_ topics: GroupTopics, for key: GroupKey, _ turn: inout Turn) {
    guard let group = table.groups[key], !group.members.isEmpty, group.topics != topics else { return }
    if let fault = problem(topics, key) {
      turn.outputs.append(.topicsRefused(key, fault))
      return
    }
    raise(key, &turn)
    propose(.topics(key, topics), &turn)
    reassign(key, &turn)
  }

  private func problem(_ topics: GroupTopics, _ key: GroupKey) -> Fault? {
    let names = topics.topics.map(\.name)
    let isSound =
      Set(names).count == names.count && Set(topics.topics.map(\.id)).count == names.count
      && topics.topics.allSatisfy {
        TopicName.partitionRange.contains($0.partitions) && $0.name.utf8.count <= GroupLimits.nameBytes
          && $0.places.count <= Int($0.partitions)
          && $0.places.allSatisfy { $0.utf8.count <= GroupLimits.labelBytes }
      }
      && topics.patterns.keys.allSatisfy { $0.utf8.count <= GroupLimits.patternBytes }
      && Set(topics.patterns.values.joined()).isSubset(of: names)
    guard isSound else { return Fault(.invalidRequest, "the resolved topics contradict themselves") }
    if topics.partitionCount > limits.partitions {
      return limit("partitions of its topics", topics.partitionCount, limits.partitions, key)
    }
    let bytes = topics.nameBytes
    guard bytes > limits.topicBytes else { return nil }
    return limit(
      "bytes of the names of its topics, and of what its patterns match", bytes, limits.topicBytes, key)
  }
}
