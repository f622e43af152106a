import GroupCoordination
import NIOCore
import SkeinCore

/// While the disk is full (R57) nothing can be appended. What must be is refused with the cure, and what nobody waits for
/// waits, so that the coordinator does not lose its log over it: members are heard and keep what they have.
extension CoordinatorHost {
  /// How long what may wait is put off, again and again.
  static let diskFullPause = TimeAmount.seconds(1)

  var isDiskFull: Bool { shard.isDiskFull }

  /// Takes an event that may come later; members that are overdue are the timer's own affair.
  /// - Returns: false when it is to be dealt with now.
  func putOff(_ event: GroupEvent) -> Bool {
    switch event {
    case .topicsResolved(let key, let topics):
      // Only the newest counts.
      postponed.topics[key] = isDiskFull ? topics : nil
    case .topicDeleted(let topic):
      if isDiskFull { postponed.deletions.insert(topic) }
    // Another round comes within a minute.
    case .expireOffsets: break
    default: return false
    }
    guard isDiskFull else { return false }
    schedulePostponed()
    return true
  }

  private func schedulePostponed() {
    guard !postponed.isScheduled, !postponed.isEmpty else { return }
    postponed.isScheduled = true
    loop.scheduleTask(in: Self.diskFullPause) { [weak self] in
      guard let self else { return }
      postponed.isScheduled = false
      guard !isDiskFull else { return schedulePostponed() }
      let (topics, deletions) = (postponed.topics, postponed.deletions)
      postponed = Postponed()
      for (key, resolved) in topics { enqueue(.topicsResolved(key, resolved)) }
      for topic in deletions { enqueue(.topicDeleted(topic)) }
    }
  }

  /// What the coordinator shall hear when there is room. Another one that begins meanwhile finds the same out by itself
  /// (`GroupCoordinator.start`, `begin`).
  struct Postponed {
    var topics: [GroupKey: GroupTopics] = [:]
    var deletions: Set<TopicID> = []
    var isScheduled = false

    var isEmpty: Bool { topics.isEmpty && deletions.isEmpty }
  }
}

extension GroupRequest {
  /// Whether it leads to records. A heartbeat mostly does not, and a member must be heard.
  var needsRoom: Bool {
    switch self {
    case .join, .leave, .commit, .deleteOffsets, .deleteGroup: true
    case .resetOffsets(_, _, let dryRun): !dryRun
    // Without a member it may make the group known.
    case .checkCommit(let commit): commit.member == nil
    case .heartbeat, .fetchOffsets, .describe, .list: false
    }
  }
}
