package import SkeinCore

/// One entry of `__groups`: the newest of its key counts, nil (a tombstone) takes the key away. The state of a
/// coordinator is what its records say and nothing else (G1, D5). Bytes: Docs/formats/group-records.md.
///
/// The records of one `GroupAppend` belong together: they are appended as one batch, all or none.
package enum GroupRecord: Sendable, Hashable {
  case group(GroupKey, GroupValue?)
  case topics(GroupKey, GroupTopics?)
  case member(GroupKey, String, MemberProfile?)
  case assignment(GroupKey, String, MemberAssignment?)
  case offset(GroupKey, TopicPartition, CommittedOffset?)
  /// No group that is created from now on has an epoch at or below this.
  case epochFloor(Int32)

  package var isTombstone: Bool {
    switch self {
    case .group(_, let value): value == nil
    case .topics(_, let value): value == nil
    case .member(_, _, let value): value == nil
    case .assignment(_, _, let value): value == nil
    case .offset(_, _, let value): value == nil
    case .epochFloor: false
    }
  }
}

/// The group itself.
package struct GroupValue: Sendable, Hashable {
  /// Rises with every change of members, subscriptions, topics or assignor (G3), and with every grant of a
  /// partition. Never repeats, also not when the group is deleted and created again.
  package var epoch: Int32
  /// The epoch for which the target assignment was computed (G3).
  package var assignmentEpoch: Int32
  /// The assignor in force, by name.
  package var assignor: String
  /// Since when the group has no member, in wall milliseconds; nil while it has some (G21).
  package var emptySince: Int64?

  package init(epoch: Int32, assignmentEpoch: Int32, assignor: String, emptySince: Int64?) {
    self.epoch = epoch
    self.assignmentEpoch = assignmentEpoch
    self.assignor = assignor
    self.emptySince = emptySince
  }
}

/// What the names and patterns of a group's subscriptions stand for. The edge resolves them: no regular expression
/// is looked at here.
package struct GroupTopics: Sendable, Hashable {
  package struct Topic: Sendable, Hashable {
    package var name: String
    package var id: TopicID
    package var partitions: Int32
    /// Where each partition is, for assignment by affinity; empty, or one a partition ("" = nowhere).
    package var places: [String]

    package init(name: String, id: TopicID, partitions: Int32, places: [String] = []) {
      self.name = name
      self.id = id
      self.partitions = partitions
      self.places = places
    }
  }

  /// In the order of their ids; every name once.
  package var topics: [Topic]
  /// For each pattern the names that it matches now.
  package var patterns: [String: [String]]

  package init(topics: [Topic] = [], patterns: [String: [String]] = [:]) {
    self.topics = topics.sorted { $0.id < $1.id }
    self.patterns = patterns.mapValues { $0.sorted() }
  }

  /// What the names, places and matches take in the record, about.
  var nameBytes: Int {
    topics.reduce(0) { sum, topic in
      sum + topic.name.utf8.count + 32 + topic.places.reduce(0) { $0 + $1.utf8.count + 2 }
    }
      + patterns.reduce(0) { sum, match in
        sum + match.key.utf8.count + match.value.reduce(8) { $0 + $1.utf8.count + 2 }
      }
  }

  package var partitionCount: Int { topics.reduce(0) { $0 + Int(max($1.partitions, 0)) } }
}

/// What a member said of itself when it joined, or later.
package struct MemberProfile: Sendable, Hashable {
  /// The name that outlives processes, of a static member (G14).
  package var instanceID: String?
  /// Names the process, however often it joins; quarantine goes by it.
  package var processID: String
  /// Who it is, for people: client id and address.
  package var client: String
  package var subscription: Subscription
  package var labels: [String: String]
  /// The assignor that it would like, by name.
  package var assignor: String?
  /// Its processing deadline in milliseconds.
  package var processing: Int64
  /// The epoch in which it joined: what was sent before is not its own.
  package var joinEpoch: Int32

  package init(
    instanceID: String?, processID: String, client: String, subscription: Subscription,
    labels: [String: String], assignor: String?, processing: Int64, joinEpoch: Int32
  ) {
    self.instanceID = instanceID
    self.processID = processID
    self.client = client
    self.subscription = subscription
    self.labels = labels
    self.assignor = assignor
    self.processing = processing
    self.joinEpoch = joinEpoch
  }
}

/// Topics by name and by regular expression. The pattern is kept as text; what it matches comes as an event.
package struct Subscription: Sendable, Hashable {
  package var names: [String]
  package var patterns: [String]

  package init(names: [String] = [], patterns: [String] = []) {
    self.names = Array(Set(names)).sorted()
    self.patterns = Array(Set(patterns)).sorted()
  }
}

/// What a member has and shall have. `assigned` and `revoking` together are what nobody else can get.
package struct MemberAssignment: Sendable, Hashable {
  /// The member's epoch: rises with every grant, and only then.
  package var epoch: Int32
  /// Its partitions, each with the epoch in which it was granted (G15).
  package var assigned: [TopicPartition: Int32] = [:]
  /// What it was told to give back and has not yet, with the epochs of the grants.
  package var revoking: [TopicPartition: Int32] = [:]
  /// What it shall have in the end.
  package var target: Set<TopicPartition> = []

  package init(epoch: Int32) { self.epoch = epoch }

  /// The epoch in which the partition was granted, if this member has it: also while it gives it back (G15).
  package func grantEpoch(_ partition: TopicPartition) -> Int32? {
    assigned[partition] ?? revoking[partition]
  }

  package var isSettled: Bool { revoking.isEmpty && assigned.count == target.count }
}

/// A committed position.
package struct CommittedOffset: Sendable, Hashable {
  package var offset: Offset
  /// The leader epoch of the record before it (G16); -1 = not known.
  package var leaderEpoch: Int32
  package var metadata: String
  /// When, in wall milliseconds.
  package var committedAt: Int64

  package init(offset: Offset, leaderEpoch: Int32, metadata: String, committedAt: Int64) {
    self.offset = offset
    self.leaderEpoch = leaderEpoch
    self.metadata = metadata
    self.committedAt = committedAt
  }
}
