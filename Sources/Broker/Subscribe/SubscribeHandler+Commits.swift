import GroupCoordination
import SkeinCore
import Transport
import Wire

/// Commits: each is checked against the log here (G18), against the membership by the coordinator (G15), and answered
/// one result an offset.
extension SubscribeHandler {
  /// - Returns: whether the message keeps its window until it is answered.
  func commit(_ commit: MemberCommit, bytes: Int) throws(Fault) -> Bool {
    guard let membership else { return false }
    guard (1...GroupLimits.offsetsPerRequest).contains(commit.offsets.count) else {
      throw Fault(
        .invalidRequest, "a commit of \(commit.offsets.count) offsets is not one",
        violations: [.init(field: "commit.offsets", description: "1 to \(GroupLimits.offsetsPerRequest)")])
    }
    guard commit.id > lastCommit else {
      throw Fault(
        .invalidRequest, "the commit's id \(commit.id) does not rise: \(lastCommit) was used already",
        violations: [.init(field: "commit.id", description: "rising, from 1 on")])
    }
    lastCommit = commit.id
    guard commitsInFlight < Self.maximumCommits else {
      let fault = Fault(
        .overloaded,
        "\(commitsInFlight) commits of this stream wait for their answer; commit several offsets at once",
        retryAfterMilliseconds: 100)
      answer(commit, commit.offsets.map { _ in fault })
      return false
    }
    var faults: [Fault?] = []
    var offsets: [OffsetCommit] = []
    for result in GroupsCheck(context: context).checked(commit.offsets, principal) {
      switch result {
      case .success(let offset):
        offsets.append(offset)
        faults.append(nil)
      case .failure(let fault): faults.append(fault)
      }
    }
    guard !offsets.isEmpty else {
      answer(commit, faults)
      return false
    }
    commitsInFlight += 1
    let request = GroupCoordination.CommitRequest(
      group: membership.key, member: (membership.id, epoch), offsets: offsets)
    context.groupOffsets.commit(request, on: eventLoop) { [faults] result in
      self.commitsInFlight -= 1
      if case .closed = self.phase { return }
      self.committed(commit, request.offsets, faults, result)
      self.done(with: bytes)
      self.settle()
    }
    return true
  }

  private func committed(
    _ commit: MemberCommit, _ offsets: [OffsetCommit], _ checked: [Fault?], _ result: Result<[Fault?], Fault>
  ) {
    let results: [Fault?]
    var ending: Fault?
    switch result {
    case .success(let each): results = each
    case .failure(let fault):
      results = offsets.map { _ in fault }
      if fault.reason.endsMembership { ending = fault }
    }
    for (offset, fault) in zip(offsets, results) where fault == nil {
      partitions[offset.partition]?.didCommit(offset.offset)
    }
    var faults = checked
    var next = results.startIndex
    for index in faults.indices where faults[index] == nil && next < results.endIndex {
      faults[index] = results[next]
      next += 1
    }
    answer(commit, faults)
    if let ending { return end(with: ending) }
    releaseBounded()
  }

  private func answer(_ commit: MemberCommit, _ faults: [Fault?]) {
    var results = CommitResults(id: commit.id)
    if faults.contains(where: { $0 != nil }) {
      results.results = zip(commit.offsets, faults).map { offset, fault in
        PartitionError(
          topic: offset.topic, partition: offset.partition,
          error: fault?.about(topic: offset.topic, partition: offset.partition).status)
      }
    }
    send(SubscribeResponse(committed: results))
  }

  /// What waited for commits goes on when the last one is answered.
  func settle() {
    let isDraining: Bool
    switch phase {
    case .leaving: isDraining = false
    case .draining: isDraining = true
    case .member where heldRelease != nil: isDraining = false
    default: return flushAcks()
    }
    flushAcks(atOnce: true)
    guard commitsInFlight == 0, dirty.isEmpty else { return }
    if isDraining { return end(.ok) }
    if case .leaving = phase { return sendLeave() }
    passRelease()
  }
}

extension Reason {
  /// Not of one request: the member is none any more, or its coordinator is not here.
  var endsMembership: Bool {
    self == .unknownMember || self == .staleMemberEpoch || self == .memberExpired || self == .notCoordinator
      || self == .coordinatorLoading
  }
}
