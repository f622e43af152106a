import GroupCoordination
import SkeinCore

/// How one coordinator is, copied from its loop.
struct CoordinatorFacts: Sendable {
  var partition: Int32
  /// False while its log is read.
  var isActive: Bool
  /// Why its groups cannot be coordinated.
  var fault: Fault?
  var groups: Int
  var members: Int
  var offsets: Int
  var counts: CoordinatorCounts
}

extension CoordinatorHost {
  /// On the loop.
  var facts: CoordinatorFacts {
    var facts = CoordinatorFacts(
      partition: key.partition, isActive: false, fault: nil, groups: 0, members: 0, offsets: 0, counts: counts
    )
    switch phase {
    case .active: facts.isActive = true
    case .failed(let fault): facts.fault = fault
    case .loading, .closed: return facts
    }
    for group in coordinator.table.groups.values {
      facts.groups += 1
      facts.members += group.members.count
      facts.offsets += group.offsets.count
    }
    return facts
  }

  /// On the loop: groups with members; nil while that is not known.
  var liveGroups: Set<GroupKey>? {
    guard case .active = phase else { return nil }
    return Set(coordinator.table.groups.filter { !$0.value.members.isEmpty }.keys)
  }
}
