import CommitLog
import GroupCoordination
import SkeinCore
import Wire

/// Committing and fetching offsets, for members and for those who assign partitions to themselves.
extension GroupsService {
  // MARK: Commit

  func commit(_ message: SharedBytes, _ principal: Principal, _ reply: UnaryReply) {
    do throws(Fault) {
      let request = try Wire.CommitRequest(decoding: message)
      let key = try GroupsCheck.group(request.group, of: principal)
      try Self.checkCount(request.offsets.count, "offsets", isEmptyAllowed: false)
      let checked = check.checked(request.offsets, principal)
      let good = checked.compactMap { try? $0.get() }
      let member = request.memberID.isEmpty ? nil : (id: request.memberID, epoch: request.memberEpoch)
      let commit = GroupCoordination.CommitRequest(group: key, member: member, offsets: good)
      // Also without a good one: whether the member is one, is told in any case.
      context.groupOffsets.commit(commit, on: reply.eventLoop) { result in
        switch result {
        case .failure(let fault): reply.fail(fault)
        case .success(let results):
          reply.succeed(
            CommitResponse(results: Self.results(request.offsets, checked, results)).encoded())
        }
      }
    } catch {
      reply.fail(error)
    }
  }

  /// One for each offset, in order.
  /// - Parameters:
  ///   - checked: what the edge said of each.
  ///   - committed: what the coordinator said of those that the edge let pass.
  static func results(
    _ offsets: [PartitionOffset], _ checked: [Result<OffsetCommit, Fault>], _ committed: [Fault?]
  ) -> [PartitionError] {
    var next = committed.makeIterator()
    return zip(offsets, checked).map { offset, checked in
      var result = PartitionError(topic: offset.topic, partition: offset.partition)
      switch checked {
      case .failure(let fault): result.error = fault.status
      case .success:
        // Inner nil: committed.
        if let fault = next.next() ?? nil {
          result.error = fault.about(topic: offset.topic, partition: offset.partition).status
        }
      }
      return result
    }
  }

  static func checkCount(_ count: Int, _ field: String, isEmptyAllowed: Bool) throws(Fault) {
    guard count <= GroupLimits.offsetsPerRequest, isEmptyAllowed || count > 0 else {
      let least = isEmptyAllowed ? 0 : 1
      throw Fault(
        .invalidRequest,
        "the request names \(count) \(field); \(least) to \(GroupLimits.offsetsPerRequest) are allowed at once",
        violations: [.init(field: field, description: "\(least) to \(GroupLimits.offsetsPerRequest)")])
    }
  }

  // MARK: Fetch

  func fetchOffsets(_ message: SharedBytes, _ principal: Principal, _ reply: UnaryReply) {
    do throws(Fault) {
      let request = try Wire.FetchOffsetsRequest(decoding: message)
      let key = try GroupsCheck.group(request.group, of: principal)
      let member = request.memberID.isEmpty ? nil : (id: request.memberID, epoch: request.memberEpoch)
      let wanted = request.partitions.isEmpty ? nil : try partitions(request.partitions, principal)
      let fetch = GroupCoordination.FetchOffsetsRequest(group: key, member: member, partitions: wanted)
      context.groupOffsets.fetch(fetch, on: reply.eventLoop) { [context] result in
        switch result {
        case .failure(let fault): reply.fail(fault)
        case .success(let found):
          let offsets = found.compactMap { key, committed in
            context.registry.topic(key.topic, of: principal.tenant).map {
              PartitionOffset(
                topic: $0.name, partition: key.partition, offset: committed.offset.rawValue,
                metadata: committed.metadata, leaderEpoch: max(committed.leaderEpoch, 0))
            }
          }
          reply.succeed(
            FetchOffsetsResponse(
              offsets: offsets.sorted { ($0.topic, $0.partition) < ($1.topic, $1.partition) }
            ).encoded())
        }
      }
    } catch {
      reply.fail(error)
    }
  }

  /// - Throws: `TOPIC_NOT_FOUND`, also for an id that the topic of that name does not have (any more);
  ///   `PARTITION_NOT_FOUND`; `INVALID_REQUEST` for too many.
  private func partitions(
    _ wanted: [TopicPartitions], _ principal: Principal
  ) throws(Fault) -> [TopicPartition] {
    try Self.checkCount(wanted.reduce(0) { $0 + $1.partitions.count }, "partitions", isEmptyAllowed: true)
    var found: [TopicPartition] = []
    for entry in wanted {
      let topic = try context.registry.topic(entry.topic, of: principal.tenant)
      guard entry.topicID.isEmpty || TopicID(entry.topicID) == topic.id else {
        throw TopicRegistry.notFound(entry.topic)
      }
      for partition in entry.partitions {
        try TopicRegistry.check(partition, of: topic)
        found.append(TopicPartition(topic: topic.id, partition: partition))
      }
    }
    return found
  }
}
