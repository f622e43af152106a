package import SkeinCore

/// What is to be done after an event, in this order: append, then perform the outputs, then set the timer.
package struct GroupEffects: Sendable {
  package var append: GroupAppend?
  package var outputs: [GroupOutput] = []
  /// When `.timer` is due, in monotonic nanoseconds; nil = nothing waits.
  package var nextDeadline: Int64?
}

/// Records for `__groups`, **one batch**: all of them become durable, or none.
package struct GroupAppend: Sendable {
  /// Rises by one with every append of this coordinator; they are appended in this order.
  package var sequence: UInt64
  /// The leadership under which it may be appended, and no other (G20).
  package var epoch: LeaderEpoch
  package var records: [GroupRecord]
}

package enum GroupOutput: Sendable {
  case reply(ReplyToken, Result<GroupReply, Fault>)
  /// To the stream of a member. Whatever is lost there is sent again at the member's next heartbeat.
  case push(SessionID, MemberMessage)
  /// Find out what these subscriptions stand for and tell it with `.topicsResolved`, now and when it changes.
  case resolve(GroupKey, Subscription)
  /// What `.topicsResolved` told was not taken (too many partitions); the group goes on with what it had.
  case topicsRefused(GroupKey, Fault)
  /// For the operator's log: who was removed without having asked for it, and why.
  case memberRemoved(GroupKey, member: String, client: String, why: String)
}

package enum GroupReply: Sendable {
  /// The member is in; its first assignment, and with it its epoch, follows as a message. Until that has come it
  /// sends no heartbeat but, when the answer is late, the same join again.
  case joined
  /// The coordinator has heard the heartbeat; the member's epoch as the coordinator knows it.
  case alive(epoch: Int32)
  case left
  /// One result an offset, in order; nil = committed.
  case committed([Fault?])
  case offsets([TopicPartition: CommittedOffset])
  case description(GroupDescription)
  case list([GroupSummary])
  /// What stands now (or would, in a dry run) and stood before.
  case reset([(partition: TopicPartition, before: Offset?, after: Offset)])
  /// That many were removed.
  case deleted(offsets: Int)
}

package enum MemberMessage: Sendable {
  /// What the member has from now on.
  case assignment(AssignmentMessage)
  /// It is a member no more: it drops everything without committing (G4).
  case goAway(Fault)
}

/// The whole of it, every time. How a member applies it (ADR 0011):
/// - `epoch` lower than its own: not at all.
/// - another `joinEpoch` than that of the messages before: it was removed meanwhile, and a late copy of its join has
///   brought it in again. It drops everything without committing, and goes on as if it had no epoch.
/// - `epoch` higher: it begins with those of `partitions` that it does not have, and takes on the epoch;
/// - in both cases it drops what is in neither list, and of `revoke` what it has it brings to an end (commit
///   included), drops it, and says so in a heartbeat. It begins nothing of `revoke`.
package struct AssignmentMessage: Sendable, Hashable {
  package var epoch: Int32
  /// The epoch in which the membership began.
  package var joinEpoch: Int32
  package var partitions: Set<TopicPartition>
  package var revoke: Set<TopicPartition>
  /// How long the hand-over may take, in milliseconds, unless extended; nil with nothing to revoke.
  package var revokeWithin: Int64?
}

/// For `Groups/Describe`.
package struct GroupDescription: Sendable {
  package enum Phase: String, Sendable {
    /// No member.
    case empty
    /// Somebody has not got, or has not given back, what the target assignment says.
    case reconciling
    case stable
  }

  package struct Member: Sendable {
    package var id: String
    package var profile: MemberProfile
    package var assignment: MemberAssignment
    package var isConnected: Bool
    /// Since it was last heard, in milliseconds; nil = not since this coordinator began.
    package var silentFor: Int64?
  }

  package var key: GroupKey
  package var phase: Phase
  package var value: GroupValue
  package var topics: GroupTopics
  /// In the order of their ids.
  package var members: [Member]
  package var offsets: [TopicPartition: CommittedOffset]
}

package struct GroupSummary: Sendable {
  package var key: GroupKey
  package var phase: GroupDescription.Phase
  package var members: Int
  package var epoch: Int32
  /// Committed offsets in `__groups`.
  package var offsets: Int
}
