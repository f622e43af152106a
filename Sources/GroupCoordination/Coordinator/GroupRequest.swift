package import SkeinCore

/// What comes to a coordinator. Authorisation has happened; the tenant in the key is the caller's own.
package enum GroupEvent: Sendable {
  /// A request that is answered once, under its token.
  case request(GroupRequest, ReplyToken)
  /// Joins that came at about the same time, of any groups: one after the other, but each group divides its partitions
  /// once for all of them. Each is answered under its token.
  case joins([(request: JoinRequest, session: SessionID, token: ReplyToken)])
  /// The stream of a member is there no more (not: it is silent). No event of that session comes after it.
  case streamLost(SessionID)
  /// The stream of a member was heard, without a message for the coordinator (its keepalive, G11).
  case streamAlive(SessionID)
  /// What `GroupOutput.resolve` asked for, and again whenever it changes.
  case topicsResolved(GroupKey, GroupTopics)
  /// A topic is deleted: its committed offsets go, in all groups; a thousand at a time, so it is sent again while
  /// it leads to an append.
  case topicDeleted(TopicID)
  /// The time of `GroupEffects.nextDeadline` has come.
  case timer
  /// Time to look for offsets that have expired (G21). Not sent while the wall clock is in doubt (R60).
  case expireOffsets
  /// Everything up to and with this append is durable. The epoch is the append's own.
  case durable(through: UInt64, epoch: LeaderEpoch)
  /// An append failed, or the leadership is lost: nothing more can become durable here (G20).
  case appendFailed(epoch: LeaderEpoch)
}

package enum GroupRequest: Sendable {
  case join(JoinRequest, SessionID)
  case heartbeat(Heartbeat, SessionID)
  case leave(LeaveRequest)
  case commit(CommitRequest)
  /// Says what `commit` would of members, epochs and values, and writes no offset: they are kept in a store
  /// elsewhere. Without a member the group is created, so that it is known here. Answered like a commit.
  case checkCommit(CommitRequest)
  case fetchOffsets(FetchOffsetsRequest)
  case describe(GroupKey)
  /// Groups of one tenant in the order of their names: those behind `after` that begin with `prefix`, at most `limit`.
  case list(tenant: String, after: String = "", prefix: String = "", limit: Int = .max)
  /// Sets positions without regard to where they stood; only while the group has no member (G16).
  case resetOffsets(GroupKey, [OffsetCommit], dryRun: Bool)
  case deleteOffsets(GroupKey, [TopicPartition])
  case deleteGroup(GroupKey)
}

/// A new member (epoch 0, G4). A member id is made by the client, **new for every join**: the same id again is a retry
/// of that join, whose answer was lost.
package struct JoinRequest: Sendable {
  package var group: GroupKey
  package var memberID: String
  /// A static member's name (G14): a successor under the same name takes over what it had.
  package var instanceID: String?
  /// Made by the client, the same for all joins of a process.
  package var processID: String
  /// Set by the edge, for people: client id and address; cut to 249 bytes.
  package var client: String
  package var subscription: Subscription
  package var labels: [String: String] = [:]
  package var assignor: String?
  /// Milliseconds; nil = the coordinator's default.
  package var processing: Int64?

  package init(
    group: GroupKey, memberID: String, instanceID: String? = nil, processID: String, client: String = "",
    subscription: Subscription
  ) {
    self.group = group
    self.memberID = memberID
    self.instanceID = instanceID
    self.processID = processID
    self.client = client
    self.subscription = subscription
  }
}

/// Sent every `GroupTimes.heartbeat`, at once when a partition was given back, and first on every new stream.
package struct Heartbeat: Sendable {
  /// How far the application is with what it was given.
  package enum Progress: Sendable, Hashable {
    /// Nothing to process: no deadline runs.
    case idle
    /// As before: the deadline goes on (or begins).
    case working
    /// Some of it is done, or the application asks for more time: the deadline begins anew.
    case advanced
  }

  package var group: GroupKey
  package var memberID: String
  /// The epoch of the newest assignment that the member has applied.
  package var epoch: Int32
  /// Everything that it has, when that changed, after any error and first on a new stream; nil = as before (G6).
  package var owned: Set<TopicPartition>?
  package var progress: Progress
  /// A changed subscription.
  package var subscription: Subscription?

  package init(
    group: GroupKey, memberID: String, epoch: Int32, owned: Set<TopicPartition>? = nil,
    progress: Progress = .idle, subscription: Subscription? = nil
  ) {
    self.group = group
    self.memberID = memberID
    self.epoch = epoch
    self.owned = owned
    self.progress = progress
    self.subscription = subscription
  }
}

/// Needs no epoch: a member id is never used again, so whoever says that it goes may go.
package struct LeaveRequest: Sendable {
  package var group: GroupKey
  package var memberID: String
  /// A static member that comes back: what it had waits for it for the session time (G4: -2).
  package var isTemporary: Bool

  package init(group: GroupKey, memberID: String, isTemporary: Bool = false) {
    self.group = group
    self.memberID = memberID
    self.isTemporary = isTemporary
  }
}

package struct OffsetCommit: Sendable, Hashable {
  package var partition: TopicPartition
  package var offset: Offset
  package var leaderEpoch: Int32
  package var metadata: String

  package init(partition: TopicPartition, offset: Offset, leaderEpoch: Int32 = -1, metadata: String = "") {
    self.partition = partition
    self.offset = offset
    self.leaderEpoch = leaderEpoch
    self.metadata = metadata
  }
}

package struct CommitRequest: Sendable {
  package var group: GroupKey
  /// Nil: somebody who assigns partitions to itself; only while the group has no member.
  package var member: (id: String, epoch: Int32)?
  package var offsets: [OffsetCommit]

  package init(group: GroupKey, member: (id: String, epoch: Int32)?, offsets: [OffsetCommit]) {
    self.group = group
    self.member = member
    self.offsets = offsets
  }
}

package struct FetchOffsetsRequest: Sendable {
  package var group: GroupKey
  /// When given, it must be a member in that epoch (G17).
  package var member: (id: String, epoch: Int32)?
  /// Nil: all.
  package var partitions: [TopicPartition]?

  package init(
    group: GroupKey, member: (id: String, epoch: Int32)? = nil, partitions: [TopicPartition]? = nil
  ) {
    self.group = group
    self.member = member
    self.partitions = partitions
  }
}
