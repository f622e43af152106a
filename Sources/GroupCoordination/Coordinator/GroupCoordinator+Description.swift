internal import SkeinCore

/// What operators are told.
extension GroupCoordinator {
  func describe(_ key: GroupKey, at now: GroupInstant) throws(Fault) -> GroupDescription {
    guard let group = table.groups[key] else { throw notFound(key) }
    var members: [GroupDescription.Member] = []
    for (id, member) in group.members.sorted(by: { $0.key < $1.key }) {
      guard let profile = member.profile else { continue }
      let live = runtime[key]?.liveness[id]
      members.append(
        GroupDescription.Member(
          id: id, profile: profile, assignment: member.assignment, isConnected: live?.session != nil,
          silentFor: live?.heardAt.map { (now.monotonic - $0) / 1_000_000 }))
    }
    return GroupDescription(
      key: key, phase: phase(of: group), value: group.value, topics: group.topics, members: members,
      offsets: group.offsets)
  }

  /// The groups of one tenant, and nobody else's.
  func list(_ tenant: String, after: String, prefix: String, limit: Int) -> [GroupSummary] {
    let keys = table.groups.keys.filter {
      $0.tenant == tenant && $0.name > after && (prefix.isEmpty || $0.name.hasPrefix(prefix))
    }
    return keys.sorted().prefix(max(limit, 0)).compactMap { key in
      table.groups[key].map { group in
        GroupSummary(
          key: key, phase: phase(of: group), members: group.members.count, epoch: group.value.epoch,
          offsets: group.offsets.count)
      }
    }
  }

  private func phase(of group: GroupState) -> GroupDescription.Phase {
    if group.members.isEmpty { return .empty }
    return group.members.values.allSatisfy(\.assignment.isSettled) ? .stable : .reconciling
  }
}
