/// Every maximum of the coordinator, with its reaction. What is fixed by the format is a static constant.
package struct GroupLimits: Sendable, Equatable {
  /// Partitions of `__groups`, fixed when a cluster is created.
  package static let logPartitions: Int32 = 32
  /// Bytes of a group's name, a member id, an instance id, a process id. Longer: INVALID_REQUEST.
  package static let nameBytes = 249
  /// Bytes of a pattern. Longer: INVALID_REQUEST.
  package static let patternBytes = 256
  /// Labels of one member, and bytes of each key and value. More: INVALID_REQUEST.
  package static let labels = 16
  package static let labelBytes = 128
  /// Bytes of metadata with one committed offset. More: the item gets INVALID_REQUEST.
  package static let metadataBytes = 4096
  /// Of all offsets of one commit or reset together: they are one batch. More: INVALID_REQUEST.
  package static let metadataBytesPerRequest = 2 << 20
  /// Offsets in one commit or reset. More: INVALID_REQUEST.
  package static let offsetsPerRequest = 10_000
  /// Tombstones in one round of expiry; the rest goes in the next one.
  package static let expiredPerRound = 1000
  /// No processing deadline is longer, in milliseconds, whatever `GroupTimes.processingRange` says.
  package static let longestProcessing: Int64 = 24 * 3_600_000
  /// Joins are refused (GROUP_LIMIT) when a group's epoch has come this far: what was a million changes a second
  /// for half an hour is still far from the end of 32 bits.
  package static let lastJoinableEpoch = Int32.max - (1 << 20)

  /// Groups of one coordinator (one partition of `__groups`), and of one tenant in it. More: GROUP_LIMIT.
  package var groups = 20_000
  package var groupsPerTenant = 2_000
  /// Members of one group. More: GROUP_LIMIT.
  package var members = 5_000
  /// Topic names and patterns of one member's subscription. More: GROUP_LIMIT.
  package var subscribedNames = 200
  package var subscribedPatterns = 16
  /// Partitions of all topics of one group. More: the new topics are not taken, the group goes on with the old.
  package var partitions = 20_000
  /// Bytes of the names of all topics of one group, and of what its patterns match: they are one record. More: as
  /// above.
  package var topicBytes = 4 << 20
  /// Committed offsets of one group. More: the item gets GROUP_LIMIT.
  package var offsets = 20_000
  /// Answers that wait for durability. More: requests are refused with OVERLOADED before they are looked at.
  package var pendingAnswers = 100_000
  /// Bytes of the records, about, with which the members that are overdue leave in one turn; the groups beyond it
  /// follow in the next.
  package var expiryBytes = 2 << 20
  /// Processes and instances whose failures one group remembers; the one that failed longest ago is forgotten.
  package var rememberedFailures = 1_000

  package init() {}
}

/// Times in milliseconds.
package struct GroupTimes: Sendable, Equatable {
  /// A member sends a heartbeat at least this often.
  package var heartbeat: Int64 = 5_000
  /// A member that was not heard for this long is removed (G11).
  package var session: Int64 = 45_000
  /// A member whose stream broke is removed when it has not come back after this.
  package var reconnectGrace: Int64 = 6_000
  /// What a member may ask for as its processing deadline (G11).
  package var processingRange: ClosedRange<Int64> = 1_000...3_600_000
  /// The processing deadline of a member that asks for none.
  package var processing: Int64 = 300_000
  /// However often a member extends its deadline, a partition is handed over after this.
  package var handover: Int64 = 600_000
  /// Committed offsets of an empty group are kept for this (G21).
  package var offsetRetention: Int64 = 7 * 24 * 3_600_000
  /// That many failures within that time put a process into quarantine (G22), for the first time so long, then
  /// twice as long each time, up to the last.
  package var failures = 5
  package var failureWindow: Int64 = 300_000
  package var quarantine: Int64 = 10_000
  package var longestQuarantine: Int64 = 600_000

  package init() {}
}

/// What a coordinator is built with.
package struct GroupConfiguration: Sendable {
  package var limits = GroupLimits()
  package var times = GroupTimes()
  /// Deliberate defects, for the tests that must catch them. Always empty in a broker.
  package var breakages: Set<GroupBreakage> = []

  package init() {}
}

/// Defects that the simulation must find (faults-and-security.md, mutation gate).
package enum GroupBreakage: Sendable, Hashable, CaseIterable {
  /// A partition is granted although another member has not released it (G7).
  case grantBeforeRelease
  /// A grant does not raise the member's epoch (G9, the argument of ADR 0011).
  case grantInTheSameEpoch
  /// A list of owned partitions releases what it lacks, whichever epoch it was made in.
  case releaseInAnyEpoch
  /// A member that revokes gets new partitions meanwhile (G8).
  case grantWhileRevoking
  /// The join of a member that is known already gives up what it has.
  case repeatedJoinReleases
  /// A commit is taken in any epoch (G15).
  case commitInAnyEpoch
  /// A commit is taken for partitions that the member does not have.
  case commitOfAnything
  /// Partitions under revocation take no commits any more (G15: the last commit must pass).
  case noCommitWhileRevoking
  /// A commit may go back (G16).
  case commitGoesBack
  /// Answers and assignments leave before their records are durable (G2).
  case answerBeforeDurable
  /// Durability that an older leadership reported is believed.
  case believeOldEpoch
  /// A coordinator whose append failed goes on (G20).
  case surviveFailedAppend
  /// What was under revocation is forgotten when records are replayed (G19).
  case forgetRevocations
  /// Members get no deadline after a restart (G19).
  case noDeadlineAfterRestart
  /// Nobody is removed for not giving a partition back (G11).
  case endlessRevocation
  /// A broken stream does not count.
  case ignoreLostStream
  /// What was released is granted only at the next change of the group.
  case forgetReleased
  /// A group that is created again counts its epochs from the beginning.
  case epochsBeginAnew
  /// The assignor does not look at who has what.
  case notSticky
  /// Offsets of a group with members expire (G21).
  case expireActive
}
