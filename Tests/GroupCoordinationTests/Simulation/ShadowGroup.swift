import GroupCoordination
import SkeinCore

/// What the records of one group say, folded by code of its own, and the rules that hold between one record and the next.
struct ShadowGroup {
  var value: GroupValue?
  var topics = GroupTopics()
  var profiles: [String: MemberProfile] = [:]
  var assignments: [String: MemberAssignment] = [:]
  var offsets: [TopicPartition: Offset] = [:]
  /// For each member and each of its epochs the grants that it had then: what a message of that epoch speaks of.
  private(set) var history: [String: [Int32: [TopicPartition: Int32]]] = [:]
  private var highestEpoch: Int32 = 0
  private var mayGoBack = false

  func grant(_ member: String, _ partition: TopicPartition) -> Int32? {
    guard let assignment = assignments[member] else { return nil }
    return assignment.assigned[partition] ?? assignment.revoking[partition]
  }

  var partitionCount: Int { topics.topics.reduce(0) { $0 + Int($1.partitions) } }

  /// One append. `isReset`: offsets may go back, and go.
  mutating func apply(_ records: [GroupRecord], isReset: Bool = false) throws(Broken) {
    let before = self
    mayGoBack = isReset
    for record in records { try apply(record) }
    try checkOwners()
    try checkStickiness(since: before)
    try checkRevocations(since: before)
  }

  private mutating func apply(_ record: GroupRecord) throws(Broken) {
    switch record {
    case .group(_, let value):
      if let value {
        if self.value == nil, value.epoch <= highestEpoch {
          throw Broken("G3: a new group begins with epoch \(value.epoch), \(highestEpoch) was there before")
        }
        if let old = self.value, value.epoch < old.epoch { throw Broken("G3: the group's epoch goes back") }
        highestEpoch = max(highestEpoch, value.epoch)
      }
      self.value = value
      if value == nil {
        profiles = [:]
        assignments = [:]
      }
    case .topics(_, let topics): self.topics = topics ?? GroupTopics()
    case .member(_, let id, let profile): profiles[id] = profile
    case .assignment(_, let id, let assignment):
      if let old = assignments[id], let new = assignment { try checkSuccession(id, old, new) }
      assignments[id] = assignment
      if let assignment {
        history[id, default: [:]][assignment.epoch, default: [:]].merge(assignment.assigned) { first, _ in
          first
        }
      }
    case .offset(_, let partition, let value):
      if value == nil, !profiles.isEmpty { throw Broken("G21: an offset of an active group goes") }
      if let old = offsets[partition], let new = value, new.offset < old, !mayGoBack {
        throw Broken("G16: the offset of \(partition.partition) goes back from \(old) to \(new.offset)")
      }
      offsets[partition] = value?.offset
    case .epochFloor: break
    }
  }

  /// G8 and the argument of ADR 0011, from one assignment of a member to the next.
  private func checkSuccession(_ id: String, _ old: MemberAssignment, _ new: MemberAssignment) throws(Broken)
  {
    let added = new.assigned.filter { old.grantEpoch($0.key) == nil }
    if !added.isEmpty, !new.revoking.isEmpty {
      throw Broken("G8: \(id) is granted something while it revokes")
    }
    if new.epoch < old.epoch { throw Broken("the epoch of \(id) goes back") }
  }

  /// G10, as the coordinator's own state: one owner a partition.
  private func checkOwners() throws(Broken) {
    var owners: [TopicPartition: String] = [:]
    for (id, assignment) in assignments {
      for partition in Array(assignment.assigned.keys) + Array(assignment.revoking.keys) {
        if let other = owners.updateValue(id, forKey: partition) {
          throw Broken("G10: \(partition.partition) belongs to \(other) and \(id)")
        }
      }
    }
  }

  /// A partition under revocation leaves its member only when that released it; the driver knows when. Here: nothing
  /// under revocation is simply assigned again.
  private func checkRevocations(since before: ShadowGroup) throws(Broken) {
    for (id, assignment) in before.assignments {
      guard let now = assignments[id] else { continue }
      for (partition, epoch) in assignment.revoking where now.assigned[partition] == epoch {
        throw Broken("G8: the revocation of \(partition.partition) from \(id) was taken back")
      }
    }
  }

  /// With everybody subscribed to everything and the sticky assignor: as few moves as balance allows, by counting.
  private func checkStickiness(since before: ShadowGroup) throws(Broken) {
    let targets = assignments.mapValues(\.target)
    guard let value, value.assignor == "sticky", value.assignmentEpoch != before.value?.assignmentEpoch,
      !targets.isEmpty,
      Set(profiles.values.map(\.subscription)) == [Subscription(names: GroupSimulation.names)],
      partitionCount > 0
    else { return }
    var owner: [TopicPartition: String] = [:]
    for (id, assignment) in before.assignments {
      for partition in assignment.target { owner[partition] = id }
    }
    var kept: [String: Int] = [:]
    var moved = 0
    for id in targets.keys {
      kept[id, default: 0] += 0
      // A static successor begins with what its predecessor had.
      let instance = profiles[id]?.instanceID
      let replaced = instance.flatMap { name in
        before.profiles.first { $0.value.instanceID == name && profiles[$0.key] == nil }?.key
      }
      if let replaced { for (partition, id2) in owner where id2 == replaced { owner[partition] = id } }
    }
    for (partition, id) in owner {
      guard targets[id] != nil, topics.topics.contains(where: { $0.id == partition.topic }) else { continue }
      kept[id, default: 0] += 1
      if targets[id]?.contains(partition) != true { moved += 1 }
    }
    let sizes = targets.values.map(\.count)
    guard sizes.reduce(0, +) == partitionCount, (sizes.max() ?? 0) - (sizes.min() ?? 0) <= 1 else {
      throw Broken("G13: \(partitionCount) partitions are divided \(sizes.sorted())")
    }
    let (share, larger) = (partitionCount / targets.count, partitionCount % targets.count)
    var least = 0
    for (rank, count) in kept.values.sorted(by: >).enumerated() {
      least += max(0, count - share - (rank < larger ? 1 : 0))
    }
    if moved != least { throw Broken("G13: \(moved) partitions moved where \(least) had to") }
  }
}

/// A rule that does not hold.
struct Broken: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
