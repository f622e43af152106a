package import SkeinCore

/// Coordinates every group of one partition of `__groups` (G1), as its leader in one leader epoch.
///
/// Events in, effects out; no clock, no task, no I/O. Request handlers propose records, `GroupTable.replay` alone
/// applies them, at once; **what is answered or sent waits until everything proposed so far is durable** (G2, D5). A
/// coordinator whose append failed is of no use any more (G20): its successor replays what the log holds.
///
/// Life: `init`, then `replay` for every record of the partition, `start`, then `handle` for every event.
/// Threading: none of its own; one owner, one event at a time.
package struct GroupCoordinator: Sendable {
  private enum Phase: Sendable {
    /// Records are replayed; may become `active`.
    case loading
    /// May become `fenced`.
    case active
    /// An append failed: everything gets NOT_COORDINATOR. The end.
    case fenced
  }

  /// Volatile companions of a group.
  struct Runtime: Sendable {
    var liveness: [String: MemberLiveness] = [:]
    var failures = FailureLog()
  }

  /// What one event led to so far.
  struct Turn {
    let now: GroupInstant
    var records: [GroupRecord] = []
    var outputs: [GroupOutput] = []
    /// Groups whose epoch was raised in this turn: no message with that epoch has left yet.
    var raised: Set<GroupKey> = []
    /// Members to be told what they have, once, as it is at the end of the turn: two messages of one epoch would
    /// hide the second's grants.
    var told: [GroupKey: Set<String>] = [:]
  }

  package let configuration: GroupConfiguration
  package let leaderEpoch: LeaderEpoch
  package internal(set) var table: GroupTable
  var runtime: [GroupKey: Runtime] = [:]
  var sessions: [SessionID: (group: GroupKey, member: String)] = [:]
  var deadlines = DeadlineQueue()
  private var phase = Phase.loading
  private var appended: UInt64 = 0
  private var durable: UInt64 = 0
  /// In the order of `after`; leave when that append is durable.
  private var waiting: [(after: UInt64, output: GroupOutput)] = []
  private var left = 0

  var limits: GroupLimits { configuration.limits }
  var times: GroupTimes { configuration.times }

  package init(configuration: GroupConfiguration = GroupConfiguration(), leaderEpoch: LeaderEpoch) {
    self.configuration = configuration
    self.leaderEpoch = leaderEpoch
    self.table = GroupTable(breakages: configuration.breakages)
  }

  // MARK: Loading

  package mutating func replay(_ record: GroupRecord) { table.replay(record) }

  /// The log is replayed to its end, and its end is durable. Every member gets its full time (G19), and the edge is
  /// asked to resolve the subscriptions anew.
  package mutating func start(at now: GroupInstant) -> GroupEffects {
    table.finishReplay()
    phase = .active
    var turn = Turn(now: now)
    for (key, group) in table.groups.sorted(by: { $0.key < $1.key }) where !group.members.isEmpty {
      runtime[key] = Runtime()
      for id in group.members.keys.sorted() { begin(id, of: key, session: nil, at: now) }
      turn.outputs.append(.resolve(key, subscription(of: group)))
    }
    return close(turn)
  }

  // MARK: Events

  package mutating func handle(_ event: GroupEvent, at now: GroupInstant) -> GroupEffects {
    guard phase == .active else { return refuse(event) }
    var turn = Turn(now: now)
    switch event {
    case .request(let request, let token):
      guard waiting.count - left < limits.pendingAnswers else {
        return refuse(token, overloaded)
      }
      do throws(Fault) {
        let reply = try answer(request, &turn)
        turn.outputs.append(.reply(token, .success(reply)))
      } catch {
        turn.outputs.append(.reply(token, .failure(error)))
      }
    case .joins(let joins):
      guard waiting.count - left + joins.count <= limits.pendingAnswers else {
        return joins.reduce(into: GroupEffects()) { effects, join in
          effects.outputs += refuse(join.token, overloaded).outputs
          effects.nextDeadline = deadlines.first
        }
      }
      self.join(joins, &turn)
    case .streamLost(let session): lose(session, at: now)
    case .streamAlive(let session): heard(session, at: now)
    case .topicsResolved(let key, let topics): take(topics, for: key, &turn)
    case .topicDeleted(let topic): deleteOffsets(of: topic, &turn)
    case .timer: expireMembers(&turn)
    case .expireOffsets: expireOffsets(&turn)
    case .durable(let sequence, let epoch):
      guard epoch == leaderEpoch || configuration.breakages.contains(.believeOldEpoch) else { break }
      durable = max(durable, min(sequence, appended))
    case .appendFailed(let epoch):
      guard epoch == leaderEpoch, !configuration.breakages.contains(.surviveFailedAppend) else { break }
      return fence()
    }
    return close(turn)
  }

  private mutating func answer(_ request: GroupRequest, _ turn: inout Turn) throws(Fault) -> GroupReply {
    switch request {
    case .join(let join, let session): try self.join(join, session, &turn)
    case .heartbeat(let heartbeat, let session): try hear(heartbeat, session, &turn)
    case .leave(let leave): try self.leave(leave, &turn)
    case .commit(let commit): try self.commit(commit, storing: true, &turn)
    case .checkCommit(let commit): try self.commit(commit, storing: false, &turn)
    case .fetchOffsets(let fetch): try fetchOffsets(fetch)
    case .describe(let key): .description(try describe(key, at: turn.now))
    case .list(let tenant, let after, let prefix, let limit):
      .list(list(tenant, after: after, prefix: prefix, limit: limit))
    case .resetOffsets(let key, let offsets, let dryRun): try reset(key, offsets, dryRun, &turn)
    case .deleteOffsets(let key, let partitions): try deleteOffsets(key, partitions, &turn)
    case .deleteGroup(let key): try deleteGroup(key, &turn)
    }
  }

  // MARK: Effects

  mutating func propose(_ record: GroupRecord, _ turn: inout Turn) {
    turn.records.append(record)
    table.replay(record)
  }

  private mutating func close(_ turn: consuming Turn) -> GroupEffects {
    tell(&turn)
    var effects = GroupEffects()
    if !turn.records.isEmpty {
      appended += 1
      effects.append = GroupAppend(sequence: appended, epoch: leaderEpoch, records: turn.records)
    }
    for output in turn.outputs { waiting.append((appended, output)) }
    let through = configuration.breakages.contains(.answerBeforeDurable) ? appended : durable
    while left < waiting.count, waiting[left].after <= through {
      effects.outputs.append(waiting[left].output)
      left += 1
    }
    // Given back in one go, so that neither a long queue nor a short one is copied again and again.
    if left == waiting.count || left >= 4096 {
      waiting.removeSubrange(..<left)
      left = 0
    }
    effects.nextDeadline = deadlines.first
    return effects
  }

  private mutating func fence() -> GroupEffects {
    phase = .fenced
    var effects = GroupEffects()
    for (_, output) in waiting[left...] {
      if case .reply(let token, _) = output {
        effects.outputs.append(.reply(token, .failure(Self.notCoordinator)))
      }
    }
    waiting = []
    left = 0
    return effects
  }

  private func refuse(_ event: GroupEvent) -> GroupEffects {
    if case .joins(let joins) = event {
      return joins.reduce(into: GroupEffects()) { effects, join in
        effects.outputs += refuse(.request(.join(join.request, join.session), join.token)).outputs
      }
    }
    guard case .request(_, let token) = event else { return GroupEffects() }
    if phase == .loading {
      return refuse(
        token,
        Fault(
          .coordinatorLoading, "the group coordinator is still reading its log", retryAfterMilliseconds: 100))
    }
    return refuse(token, Self.notCoordinator)
  }

  private func refuse(_ token: ReplyToken, _ fault: Fault) -> GroupEffects {
    var effects = GroupEffects()
    effects.outputs = [.reply(token, .failure(fault))]
    effects.nextDeadline = deadlines.first
    return effects
  }

  private var overloaded: Fault {
    Fault(
      .overloaded, "\(limits.pendingAnswers) answers of the group coordinator wait for the log",
      retryAfterMilliseconds: 100)
  }

  private static let notCoordinator = Fault(
    .notCoordinator, "this broker does not coordinate the group any more; connect again",
    retryAfterMilliseconds: 100)
}
