import CommitLog
import GroupCoordination
import NIOCore
import SkeinCore
import Wire

/// Acknowledgements of single records, in any order; what is committed is, for each partition, the offset below which
/// all are. One such commit at a time, of all partitions that have something.
extension SubscribeHandler {
  func acknowledge(_ ack: MemberAck) throws(Fault) {
    let limit = GroupLimits.offsetsPerRequest
    guard ack.ranges.count <= limit else {
      throw Fault(
        .invalidRequest, "an acknowledgement of \(ack.ranges.count) ranges",
        violations: [.init(field: "ack.ranges", description: "at most \(limit) at once")])
    }
    var refused: [PartitionError] = []
    for range in ack.ranges {
      let last = range.last == 0 ? range.first : range.last
      guard range.first >= 0, last >= range.first, last < Offset.limit.rawValue else {
        throw Fault(
          .invalidRequest, "the range \(range.first) to \(range.last) is not one",
          violations: [.init(field: "ack.ranges", description: "first from 0 on; last 0, or at least first")])
      }
      if let fault = acknowledge(range.first..<last + 1, of: range.topic, range.partition) {
        refused.append(
          PartitionError(topic: range.topic, partition: range.partition, error: fault.status))
      }
    }
    if !refused.isEmpty { send(SubscribeResponse(committed: CommitResults(id: 0, results: refused))) }
  }

  private func acknowledge(_ range: Range<Int64>, of topic: String, _ number: Int32) -> Fault? {
    guard let partition = partition(topic, number) else { return notAssigned(topic, number) }
    guard let end = partition.sentEnd, range.upperBound <= end.rawValue else {
      return Fault(
        .invalidRequest,
        "the records \(range.lowerBound) to \(range.upperBound - 1) of topic \"\(topic.displayable)\" partition \(number) were not all sent",
        violations: [.init(field: "ack.ranges", description: "only what was received")])
    }
    guard partition.acks != nil else {
      return Fault(
        .offsetStoreUnavailable,
        "where the group stands in topic \"\(topic.displayable)\" partition \(number) is not known yet; acknowledge again a little later",
        retryAfterMilliseconds: 1_000)
    }
    guard partition.acks?.acknowledge(range) == true else {
      return Fault(
        .tooManyGaps,
        "topic \"\(topic.displayable)\" partition \(number) has \(partition.acks?.gaps ?? 0) gaps between what is acknowledged; acknowledge the oldest records first, and these again",
        metadata: [
          "topic": topic.displayable, "partition": "\(number)", "first": "\(range.lowerBound)",
          "last": "\(range.upperBound - 1)", "limit": "\(AckTracker.maximumGaps)",
        ])
    }
    if partition.ackToCommit != nil { dirty.insert(partition.key) }
    if bounded.contains(partition.key), partition.acks?.isFull == false { releaseBounded() }
    return nil
  }

  /// - Parameter atOnce: without the pause that the member asked for.
  func flushAcks(atOnce: Bool = false) {
    guard !dirty.isEmpty, !isAckCommitInFlight, let membership, !isAckTrouble else { return }
    if !atOnce, let pause = membership.ackPause { return commitAcks(in: pause) }
    let offsets = takeAcks()
    guard !offsets.isEmpty else { return }
    ackTimer?.cancel()
    ackTimer = nil
    commitsInFlight += 1
    isAckCommitInFlight = true
    let request = GroupCoordination.CommitRequest(
      group: membership.key, member: (membership.id, epoch), offsets: offsets)
    context.groupOffsets.commit(request, on: eventLoop) { result in
      self.commitsInFlight -= 1
      self.isAckCommitInFlight = false
      if case .closed = self.phase { return }
      self.committedAcks(request.offsets, result)
      self.settle()
    }
  }

  private func commitAcks(in pause: TimeAmount) {
    guard ackTimer == nil else { return }
    ackTimer = eventLoop.scheduleTask(in: pause) { [weak self] in
      guard let self else { return }
      ackTimer = nil
      isAckTrouble = false
      flushAcks(atOnce: true)
      settle()
    }
  }

  /// What is to be committed for acknowledgements, at most a request's worth.
  func takeAcks() -> [OffsetCommit] {
    var offsets: [OffsetCommit] = []
    for key in dirty.sorted() {
      guard offsets.count < GroupLimits.offsetsPerRequest else { break }
      dirty.remove(key)
      guard let partition = partitions[key], let offset = partition.ackToCommit else { continue }
      partition.ackAsked = offset.rawValue
      let epoch = try? context.workers.directory.partition(key)?.judge(offset, lastEpoch: nil)
      offsets.append(OffsetCommit(partition: key, offset: offset, leaderEpoch: epoch?.rawValue ?? -1))
    }
    return offsets
  }

  private func committedAcks(_ offsets: [OffsetCommit], _ result: Result<[Fault?], Fault>) {
    let results: [Fault?]
    switch result {
    case .success(let each): results = each
    case .failure(let fault) where fault.reason.endsMembership: return end(with: fault)
    case .failure(let fault): results = offsets.map { _ in fault }
    }
    var failed: [PartitionError] = []
    var isTrouble = false
    for (offset, fault) in zip(offsets, results) {
      guard let partition = partitions[offset.partition] else { continue }
      guard let fault else {
        partition.isTroubleTold = false
        partition.didCommit(offset.offset)
        continue
      }
      partition.ackAsked = -1
      if fault.reason.isTroubleOfStore {
        // Asked again a little later; told once.
        isTrouble = true
        dirty.insert(partition.key)
        if partition.isTroubleTold { continue }
        partition.isTroubleTold = true
      } else if fault.reason == .commitBehind, let known = Int64(fault.metadata["committed"] ?? "") {
        partition.didCommit(Offset(known))
        continue
      }
      failed.append(
        PartitionError(
          topic: partition.topicName, partition: partition.key.partition, error: fault.status))
    }
    if !failed.isEmpty { send(SubscribeResponse(committed: CommitResults(id: 0, results: failed))) }
    if isTrouble {
      isAckTrouble = true
      commitAcks(in: Self.startPause)
    }
    releaseBounded()
  }
}
