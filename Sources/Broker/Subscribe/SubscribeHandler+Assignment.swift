import GroupCoordination
import SkeinCore
import Wire

/// Partitions come and go.
extension SubscribeHandler {
  /// Everything that the member has. Older ones than were sent are not sent; what is new begins, what is to be given
  /// back stops at once, what is in neither list is dropped.
  func take(_ assignment: AssignmentMessage) {
    guard assignment.epoch >= epoch else { return }
    guard joinEpoch == 0 || assignment.joinEpoch == joinEpoch else {
      return end(
        with: Fault(
          .staleMemberEpoch,
          "the member was removed and has joined again elsewhere; drop all partitions and join with a new id",
          metadata: ["epoch": "\(joinEpoch)", "first": "\(assignment.joinEpoch)"]))
    }
    (epoch, joinEpoch) = (assignment.epoch, assignment.joinEpoch)
    for (key, partition) in partitions {
      // Assigned again after it was given back: another grant.
      let isAnew = partition.isRevoking && assignment.partitions.contains(key)
      if isAnew || !(assignment.partitions.contains(key) || assignment.revoke.contains(key)) { drop(key) }
    }
    var begun: [MemberPartition] = []
    for key in assignment.partitions.sorted() where partitions[key] == nil { begun.append(make(key)) }
    for key in assignment.revoke.sorted() {
      // What this stream knows nothing of was the member's before it came back, or is nothing to give back.
      if partitions[key] == nil, membership?.resume?.positions[key] != nil, phase == .joining {
        begun.append(make(key))
      }
      if let partition = partitions[key] { revoke(partition) }
    }
    send(SubscribeResponse(assignment: message(assignment)))
    if case .joining = phase {
      phase = .member
      start(begun)
      unpark()
    } else {
      start(begun)
    }
    flushAcks()
    pump?.pump()
  }

  private func make(_ key: TopicPartition) -> MemberPartition {
    let name = name(of: key.topic)
    if topicIDs.count > context.groups.limits.partitions {
      topicIDs = [:]
      for partition in partitions.values { topicIDs[partition.topicName] = partition.key.topic }
    }
    topicIDs[name] = key.topic
    // Positions are of the beginning of this stream: what was given back and comes again begins anew.
    let resumeAt = phase == .joining ? membership?.resume?.positions[key] ?? nil : nil
    let partition = MemberPartition(topicName: name, key: key, resumeAt: resumeAt)
    partition.seek = seeks[key] ?? 0
    partitions[key] = partition
    return partition
  }

  /// Sends nothing more of it at once, a read under way included. What was acknowledged is committed before it goes.
  private func revoke(_ partition: MemberPartition) {
    guard !partition.isRevoking else { return }
    partition.isRevoking = true
    pump?.hold(partition.cursor)
    bounded.remove(partition.key)
  }

  /// The member does not have it any more.
  func drop(_ key: TopicPartition) {
    guard let partition = partitions.removeValue(forKey: key) else { return }
    pump?.end(partition.cursor)
    bounded.remove(key)
    dirty.remove(key)
  }

  private func message(_ assignment: AssignmentMessage) -> SubscribeAssignment {
    var message = SubscribeAssignment(epoch: assignment.epoch, joinEpoch: assignment.joinEpoch)
    message.partitions = named(assignment.partitions)
    message.revoke = named(assignment.revoke)
    message.revokeWithinMs = assignment.revokeWithin ?? 0
    for key in assignment.revoke.sorted() {
      guard let partition = partitions[key], let end = partition.sentEnd else { continue }
      message.reclaim.append(
        PartitionOffset(topic: partition.topicName, partition: key.partition, offset: end.rawValue))
    }
    return message
  }

  /// Empty for a topic that is deleted.
  private func name(of topic: TopicID) -> String {
    context.registry.topic(topic, of: principal.tenant)?.name ?? ""
  }

  private func named(_ keys: Set<TopicPartition>) -> [TopicPartitions] {
    var lists: [TopicPartitions] = []
    var last: TopicID?
    for key in keys.sorted() {
      if key.topic != last {
        last = key.topic
        let name = partitions[key]?.topicName ?? self.name(of: key.topic)
        lists.append(TopicPartitions(topic: name, topicID: key.topic.description))
      }
      lists[lists.count - 1].partitions.append(key.partition)
    }
    return lists
  }

  /// The keys that a member's lists name; a topic by its id where the member gives it.
  /// - Parameter isOwned: also those of a deleted topic of the same name, so that no list lacks what was not meant.
  /// - Throws: `INVALID_REQUEST`.
  func keys(_ lists: [TopicPartitions], field: String, isOwned: Bool = false) throws(Fault) -> Set<
    TopicPartition
  > {
    let limit = context.groups.limits.partitions
    var count = 0
    for list in lists { count += list.partitions.count }
    guard count <= limit, lists.count <= limit else {
      throw Fault(
        .invalidRequest, "`\(field)` names \(count) partitions",
        violations: [.init(field: field, description: "at most \(limit) partitions")])
    }
    var namesakes: [String: Set<TopicID>] = [:]
    if isOwned {
      for partition in partitions.values {
        namesakes[partition.topicName, default: []].insert(partition.key.topic)
      }
    }
    var keys: Set<TopicPartition> = []
    for list in lists {
      var ids: Set<TopicID> = []
      if !list.topicID.isEmpty {
        guard let id = TopicID(list.topicID) else {
          throw Fault(
            .invalidRequest, "the topic id \"\(list.topicID.displayable)\" is not one",
            violations: [.init(field: field, description: "topic_id: 32 hexadecimal digits, or empty")])
        }
        ids = [id]
      } else {
        ids = namesakes[list.topic] ?? []
        if let id = topicIDs[list.topic] { ids.insert(id) }
      }
      for id in ids {
        for number in list.partitions { keys.insert(TopicPartition(topic: id, partition: number)) }
      }
    }
    return keys
  }

  /// The member's partition of that name, if it has it.
  func partition(_ topic: String, _ number: Int32) -> MemberPartition? {
    guard let id = topicIDs[topic] else { return nil }
    return partitions[TopicPartition(topic: id, partition: number)]
  }

  func notAssigned(_ topic: String, _ number: Int32) -> Fault {
    Fault(
      .notAssigned,
      "topic \"\(topic.displayable)\" partition \(number) is not the member's, or it has to be given back",
      metadata: ["topic": topic.displayable, "partition": "\(number)"])
  }
}
