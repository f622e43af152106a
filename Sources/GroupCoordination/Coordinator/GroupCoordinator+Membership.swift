internal import SkeinCore

/// Who becomes a member.
extension GroupCoordinator {
  // MARK: Join

  mutating func join(_ request: JoinRequest, _ session: SessionID, _ turn: inout Turn) throws(Fault)
    -> GroupReply
  {
    let isFirst = table.groups[request.group]?.members.isEmpty ?? true
    let isNew = try enter(request, session, &turn)
    if isNew {
      reassign(request.group, &turn)
      resolve(request.subscription, of: request.group, isFirst: isFirst, &turn)
    }
    return .joined
  }

  /// Dividing a group's partitions is what a join costs, in proportion to members and partitions: so it is done once for
  /// all that have come.
  mutating func join(
    _ joins: [(request: JoinRequest, session: SessionID, token: ReplyToken)], _ turn: inout Turn
  ) {
    var changed: [GroupKey: (isFirst: Bool, subscriptions: Set<Subscription>)] = [:]
    for (request, session, token) in joins {
      let isFirst = table.groups[request.group]?.members.isEmpty ?? true
      do throws(Fault) {
        if try enter(request, session, &turn) {
          changed[request.group, default: (isFirst, [])].subscriptions.insert(request.subscription)
        }
        turn.outputs.append(.reply(token, .success(.joined)))
      } catch {
        turn.outputs.append(.reply(token, .failure(error)))
      }
    }
    for (key, change) in changed.sorted(by: { $0.key < $1.key }) {
      reassign(key, &turn)
      let names = change.subscriptions.flatMap(\.names)
      let patterns = change.subscriptions.flatMap(\.patterns)
      resolve(Subscription(names: names, patterns: patterns), of: key, isFirst: change.isFirst, &turn)
    }
  }

  /// Takes a member in; the caller divides the partitions anew if it is a new one.
  private mutating func enter(
    _ request: JoinRequest, _ session: SessionID, _ turn: inout Turn
  ) throws(Fault) -> Bool {
    try check(request)
    let key = request.group
    if let known = table.groups[key]?.members[request.memberID] {
      rejoin(known, request, session, &turn)
      return false
    }
    let process = request.instanceID ?? request.processID
    if let wait = runtime[key]?.failures.quarantine(of: process, at: turn.now.monotonic) {
      throw Fault(
        .memberQuarantined,
        "\(process.displayable) was removed from the group \(times.failures) times within \(times.failureWindow / 1000) s and may join again in \(wait) ms; look for what makes it fail",
        metadata: ["group": key.name, "process": process], retryAfterMilliseconds: wait)
    }
    let predecessor = try predecessor(request)
    try checkRoom(request, replaces: predecessor != nil)

    raise(key, &turn)
    let epoch = table.groups[key]?.value.epoch ?? 1
    var assignment = MemberAssignment(epoch: epoch)
    if let predecessor, let old = table.groups[key]?.members[predecessor]?.assignment {
      // The successor begins with what the old one had (G14), as if it was granted now: what the old process sends is stale.
      assignment.assigned = old.assigned.mapValues { _ in epoch }
      assignment.target = old.target
      remove(predecessor, from: key, telling: nil, &turn)
    }
    let profile = MemberProfile(
      instanceID: request.instanceID, processID: request.processID, client: Self.cut(request.client),
      subscription: request.subscription, labels: request.labels, assignor: request.assignor,
      processing: request.processing ?? times.processing, joinEpoch: epoch)
    propose(.member(key, request.memberID, profile), &turn)
    propose(.assignment(key, request.memberID, assignment), &turn)
    begin(request.memberID, of: key, session: session, at: turn.now)
    push(request.memberID, of: key, &turn)
    return true
  }

  /// The answer to the first join was lost. The member keeps what it has: its list of owned partitions is of a time
  /// before it had anything, and says nothing.
  private mutating func rejoin(
    _ known: GroupMember, _ request: JoinRequest, _ session: SessionID, _ turn: inout Turn
  ) {
    if configuration.breakages.contains(.repeatedJoinReleases) {
      var assignment = MemberAssignment(epoch: known.assignment.epoch)
      assignment.target = known.assignment.target
      propose(.assignment(request.group, request.memberID, assignment), &turn)
      reconcile(request.group, targets: nil, &turn)
    }
    bind(request.memberID, of: request.group, to: session, at: turn.now)
    push(request.memberID, of: request.group, &turn)
  }

  /// The static member of the same name whose place this one takes, if there is one and it is not there any more.
  private func predecessor(_ request: JoinRequest) throws(Fault) -> String? {
    guard let instance = request.instanceID, let old = table.groups[request.group]?.instances[instance] else {
      return nil
    }
    guard runtime[request.group]?.liveness[old]?.session == nil else {
      throw Fault(
        .unreleasedInstanceID,
        "the instance id \(instance.displayable) is in use by another member, which is connected; stop that one, or give this one another instance id",
        metadata: ["group": request.group.name, "instance_id": instance])
    }
    return old
  }

  private func check(_ request: JoinRequest) throws(Fault) {
    var wrong: [Fault.FieldViolation] = []
    func name(_ text: String, _ field: String) {
      if text.isEmpty || text.utf8.count > GroupLimits.nameBytes {
        wrong.append(
          .init(
            field: field,
            description: "has \(text.utf8.count) bytes; 1 to \(GroupLimits.nameBytes) are allowed"))
      }
    }
    name(request.group.name, "group")
    name(request.memberID, "member_id")
    name(request.processID, "process_id")
    if let instance = request.instanceID { name(instance, "instance_id") }
    wrong += Self.problems(request.subscription)
    if request.labels.count > GroupLimits.labels {
      wrong.append(
        .init(
          field: "labels",
          description: "are \(request.labels.count); at most \(GroupLimits.labels) are allowed"))
    }
    for (label, value) in request.labels.sorted(by: { $0.key < $1.key })
    where label.isEmpty || max(label.utf8.count, value.utf8.count) > GroupLimits.labelBytes {
      wrong.append(
        .init(
          field: "labels",
          description: "\(label.displayable): names and values have at most \(GroupLimits.labelBytes) bytes"))
    }
    if let processing = request.processing, !times.processingRange.contains(processing) {
      wrong.append(
        .init(
          field: "processing_ms",
          description:
            "is \(processing); \(times.processingRange.lowerBound) to \(times.processingRange.upperBound) are allowed"
        ))
    }
    guard wrong.isEmpty else {
      throw Fault(
        .invalidRequest, "the join has \(wrong.count) wrong field(s)", violations: Array(wrong.prefix(20)))
    }
    if let assignor = request.assignor { _ = try Assignor(named: assignor) }
    try checkSize(request.subscription, group: request.group)
  }

  static func problems(_ subscription: Subscription) -> [Fault.FieldViolation] {
    var wrong: [Fault.FieldViolation] = []
    if subscription.names.isEmpty && subscription.patterns.isEmpty {
      wrong.append(.init(field: "subscription", description: "names no topic and no pattern"))
    }
    for topic in subscription.names {
      if let problem = TopicName.problem(topic) {
        wrong.append(.init(field: "topics", description: "\(topic.displayable) \(problem)"))
      }
    }
    for pattern in subscription.patterns
    where pattern.isEmpty || pattern.utf8.count > GroupLimits.patternBytes {
      wrong.append(
        .init(
          field: "patterns",
          description: "has \(pattern.utf8.count) bytes; 1 to \(GroupLimits.patternBytes) are allowed"))
    }
    return wrong
  }

  func checkSize(_ subscription: Subscription, group: GroupKey) throws(Fault) {
    let (names, patterns) = (subscription.names.count, subscription.patterns.count)
    if names > limits.subscribedNames {
      throw limit("topic names in a subscription", names, limits.subscribedNames, group)
    }
    if patterns > limits.subscribedPatterns {
      throw limit("patterns in a subscription", patterns, limits.subscribedPatterns, group)
    }
  }

  private func checkRoom(_ request: JoinRequest, replaces: Bool) throws(Fault) {
    let key = request.group
    guard let group = table.groups[key] else { return try checkRoomForGroup(key) }
    if !replaces, group.members.count >= limits.members {
      throw limit("members", group.members.count, limits.members, key)
    }
    if group.value.epoch >= GroupLimits.lastJoinableEpoch {
      throw limit("epochs", Int(group.value.epoch), Int(GroupLimits.lastJoinableEpoch), key)
    }
  }

  func checkRoomForGroup(_ key: GroupKey) throws(Fault) {
    let ofTenant = table.groupsPerTenant[key.tenant] ?? 0
    if ofTenant >= limits.groupsPerTenant {
      throw limit("groups of a tenant", ofTenant, limits.groupsPerTenant, key)
    }
    // How many groups others have is not told.
    if table.groups.count >= limits.groups {
      throw limit("groups of a coordinator", limits.groups, limits.groups, key)
    }
    if table.epochFloor >= GroupLimits.lastJoinableEpoch {
      throw limit("epochs", Int(table.epochFloor), Int(GroupLimits.lastJoinableEpoch), key)
    }
  }

  func limit(_ what: String, _ value: Int, _ limit: Int, _ key: GroupKey) -> Fault {
    Fault(
      .groupLimit,
      "the group \(key.name.displayable): \(what) would be more than \(limit) (now or asked for: \(value)); remove some, or raise the limit",
      metadata: ["group": key.name, "what": what, "limit": "\(limit)"])
  }

  private static func cut(_ text: String) -> String {
    guard text.utf8.count > GroupLimits.nameBytes else { return text }
    return String(decoding: Array(text.utf8.prefix(GroupLimits.nameBytes - 3)), as: UTF8.self)
  }
}
