package import SkeinCore

/// One group as its records say.
package struct GroupState: Sendable {
  package var value: GroupValue
  package var topics = GroupTopics()
  package var members: [String: GroupMember] = [:]
  package var offsets: [TopicPartition: CommittedOffset] = [:]

  /// Derived: who has which partition, also while it is giving it back.
  package private(set) var owners: [TopicPartition: String] = [:]
  /// Derived: who shall have which partition in the end.
  package private(set) var heirs: [TopicPartition: String] = [:]
  /// Derived: the static members.
  package private(set) var instances: [String: String] = [:]

  package init(value: GroupValue) { self.value = value }

  /// What the records of a change that concerns all members take at most, in bytes, about: two records a member, with
  /// names of full length in their keys, and each partition in an assignment and a target.
  var changeBytes: Int { members.count * 1200 + topics.partitionCount * 70 }

  mutating func set(_ profile: MemberProfile?, of member: String) {
    if let old = members[member]?.profile?.instanceID, instances[old] == member { instances[old] = nil }
    guard let profile else {
      forget(member)
      return
    }
    members[member, default: GroupMember()].profile = profile
    if let instance = profile.instanceID { instances[instance] = member }
  }

  mutating func set(_ assignment: MemberAssignment?, of member: String) {
    release(member)
    guard let assignment else {
      aim(member, at: [])
      members[member]?.assignment = MemberAssignment(epoch: 0)
      if members[member]?.profile == nil { members[member] = nil }
      return
    }
    aim(member, at: assignment.target)
    members[member, default: GroupMember()].assignment = assignment
    for partition in assignment.assigned.keys { owners[partition] = member }
    for partition in assignment.revoking.keys { owners[partition] = member }
  }

  private mutating func forget(_ member: String) {
    release(member)
    aim(member, at: [])
    members[member] = nil
  }

  /// While a target is being replaced two members may aim at one partition: the later one is its heir.
  private mutating func aim(_ member: String, at target: Set<TopicPartition>) {
    let old = members[member]?.assignment.target ?? []
    guard old != target else { return }
    for partition in old where heirs[partition] == member { heirs[partition] = nil }
    for partition in target { heirs[partition] = member }
  }

  private mutating func release(_ member: String) {
    guard let assignment = members[member]?.assignment else { return }
    for partition in assignment.assigned.keys where owners[partition] == member { owners[partition] = nil }
    for partition in assignment.revoking.keys where owners[partition] == member { owners[partition] = nil }
  }
}

/// A member as its two records say.
package struct GroupMember: Sendable {
  /// Nil only while records are replayed: compaction may have left the assignment before the profile.
  package var profile: MemberProfile?
  package var assignment = MemberAssignment(epoch: 0)
}

/// Every group of one partition of `__groups`. **`replay` is the only place that changes it** (style habit 2).
package struct GroupTable: Sendable {
  package private(set) var groups: [GroupKey: GroupState] = [:]
  package private(set) var groupsPerTenant: [String: Int] = [:]
  package private(set) var epochFloor: Int32 = 0
  let breakages: Set<GroupBreakage>

  package init(breakages: Set<GroupBreakage> = []) { self.breakages = breakages }

  /// Applies one record; in the order of the log, each as often as it stands there. Any order of records is
  /// taken without a trap: compaction may have taken the older ones of some keys away.
  package mutating func replay(_ record: GroupRecord) {
    switch record {
    case .group(let key, let value):
      guard let value else {
        if groups.removeValue(forKey: key) != nil { count(key, -1) }
        return
      }
      create(key)
      groups[key]?.value = value
    case .topics(let key, let topics):
      guard topics != nil || groups[key] != nil else { return }
      create(key)
      groups[key]?.topics = topics ?? GroupTopics()
    case .member(let key, let member, let profile):
      guard profile != nil || groups[key] != nil else { return }
      create(key)
      groups[key]?.set(profile, of: member)
    case .assignment(let key, let member, let assignment):
      guard assignment != nil || groups[key] != nil else { return }
      create(key)
      groups[key]?.set(assignment, of: member)
    case .offset(let key, let partition, let offset):
      guard offset != nil || groups[key] != nil else { return }
      create(key)
      groups[key]?.offsets[partition] = offset
    case .epochFloor(let epoch): epochFloor = max(epochFloor, epoch)
    }
  }

  /// Called when the end of the log is reached: what has no group record or profile there never will. That does not
  /// happen while appends are atomic; what remains of a damaged log must not own partitions.
  package mutating func finishReplay() {
    for (key, group) in groups {
      if group.value.epoch == 0 {
        groups[key] = nil
        count(key, -1)
        continue
      }
      for (id, member) in group.members {
        if member.profile == nil {
          groups[key]?.set(nil as MemberProfile?, of: id)
        } else if breakages.contains(.forgetRevocations) {
          var assignment = member.assignment
          assignment.revoking = [:]
          groups[key]?.set(assignment, of: id)
        }
      }
    }
  }

  /// A record other than the group's own may come first after compaction: epoch 0 says that it is still to come.
  private mutating func create(_ key: GroupKey) {
    guard groups[key] == nil else { return }
    groups[key] = GroupState(
      value: GroupValue(epoch: 0, assignmentEpoch: 0, assignor: Assignor.standard.name, emptySince: nil))
    count(key, 1)
  }

  private mutating func count(_ key: GroupKey, _ change: Int) {
    let count = groupsPerTenant[key.tenant, default: 0] + change
    groupsPerTenant[key.tenant] = count > 0 ? count : nil
  }
}
