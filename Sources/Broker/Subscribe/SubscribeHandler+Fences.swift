import CommitLog
import GroupCoordination
import Logging
import NIOCore
import SkeinCore

/// Where a topic's partitioner was swapped with a fence, a group reads a key's records in order although they moved: a
/// partition goes on beyond its cut only when the group has committed every partition up to its own cut.
///
/// A partition that begins behind a cut has it behind it. What has no records below its cut any more needs no commit.
extension SubscribeHandler {
  /// Between two looks at what the group has committed: doubles from the first to the last.
  private static let firstFencePause = TimeAmount.milliseconds(20)
  private static let longestFencePause = TimeAmount.milliseconds(500)

  /// The oldest cut that the partition has not passed; nil: there is none.
  private func fence(of partition: MemberPartition) -> TopicGeneration? {
    guard context.fenceWaitMilliseconds > 0,
      let topic = context.registry.topic(partition.key.topic, of: principal.tenant)
    else { return nil }
    return topic.generations.first { generation in
      guard generation.isFenced, generation.number > partition.passedFence,
        let cut = generation.cut(of: partition.key.partition)
      else { return false }
      return partition.began <= cut
    }
  }

  /// Batches from here on wait; `.limit`: none does.
  func fenceLimit(of partition: MemberPartition) -> Offset {
    guard let cut = fence(of: partition)?.cut(of: partition.key.partition) else { return .limit }
    if partition.cursor.offset >= cut, fenced.insert(partition.key).inserted {
      partition.fencedSince = .now()
      // Not from within the pump, which asks for this limit.
      if fenceCheck == nil { checkFences(in: .zero) }
    }
    return cut
  }

  private func checkFences(in pause: TimeAmount) {
    fencePause = min(max(fencePause * 2, Self.firstFencePause), Self.longestFencePause)
    fenceCheck = eventLoop.scheduleTask(in: pause) { [weak self] in self?.checkFences() }
  }

  /// Partitions that wait for the same fence of a topic.
  private struct FenceWait {
    let fence: TopicGeneration
    let topic: TopicID
    var partitions: [MemberPartition] = []
  }

  /// Who waits, once for each fence, because looking at one costs as much as its topic has partitions. Who has no fence
  /// before it any more goes on.
  private func fenceWaits() -> [FenceWait] {
    struct ID: Hashable {
      let topic: TopicID
      let generation: UInt32
    }
    var waits: [ID: FenceWait] = [:]
    for key in fenced {
      guard let partition = partitions[key], !partition.isHeld, let fence = fence(of: partition) else {
        free(key)
        continue
      }
      let id = ID(topic: key.topic, generation: fence.number)
      waits[id, default: FenceWait(fence: fence, topic: key.topic)].partitions.append(partition)
    }
    return Array(waits.values)
  }

  private func checkFences() {
    guard case .member = phase, let membership else { return fenceCheck = nil }
    let asked = Set(fenceWaits().flatMap { missing(before: $0.fence, of: $0.topic) }).sorted()
    ask(asked[...], of: membership.key, [:])
  }

  /// What the group has committed of `rest` and was found already.
  private func ask(
    _ rest: ArraySlice<TopicPartition>, of group: GroupKey, _ found: [TopicPartition: Offset]
  ) {
    guard !rest.isEmpty else { return passFences(found) }
    let request = GroupCoordination.FetchOffsetsRequest(
      group: group, partitions: Array(rest.prefix(GroupLimits.offsetsPerRequest)))
    context.groupOffsets.fetch(request, on: eventLoop) { result in
      if case .closed = self.phase { return }
      // A store that does not answer is asked again, with the next look.
      let more = (try? result.get())?.mapValues(\.offset) ?? [:]
      self.ask(
        rest.dropFirst(GroupLimits.offsetsPerRequest), of: group, found.merging(more) { _, new in new })
    }
  }

  /// Which partitions of the topic have records below the cut that this member does not know to be committed.
  private func missing(before fence: TopicGeneration, of topic: TopicID) -> [TopicPartition] {
    fence.cuts.indices.compactMap { number in
      let key = TopicPartition(topic: topic, partition: Int32(number))
      let cut = Offset(fence.cuts[number])
      if let committed = partitions[key]?.committed, committed >= cut { return nil }
      guard let start = context.workers.directory.partition(key)?.committedRange.start, start < cut else {
        return nil
      }
      return key
    }
  }

  private func passFences(_ committed: [TopicPartition: Offset]) {
    fenceCheck = nil
    for wait in fenceWaits() {
      let behind = missing(before: wait.fence, of: wait.topic).filter { behind in
        wait.fence.cut(of: behind.partition).map { (committed[behind] ?? .zero) < $0 } ?? false
      }
      for partition in wait.partitions {
        if !behind.isEmpty {
          guard hasWaitedLong(partition) else { continue }
          tellWaitedOut(partition, wait.fence, behind)
        }
        partition.passedFence = wait.fence.number
        free(partition.key)
      }
    }
    if fenced.isEmpty { fencePause = .zero } else { checkFences(in: fencePause) }
    pump?.pump()
  }

  private func tellWaitedOut(
    _ partition: MemberPartition, _ fence: TopicGeneration, _ behind: [TopicPartition]
  ) {
    context.metrics.fencesWaitedOut.add(1)
    context.logger.warning(
      "a partition goes on beyond the cut of a fenced swap although its group has not processed all that was before: groups.fence-wait-ms is over",
      metadata: [
        "group": "\(membership?.key.name ?? "")", "topic": "\(partition.topicName)",
        "partition": "\(partition.key.partition)", "generation": "\(fence.number)",
        "behind": "\(behind.prefix(8).map(\.partition))",
      ])
  }

  private func free(_ key: TopicPartition) {
    fenced.remove(key)
    guard let partition = partitions[key], !partition.isHeld else { return }
    partition.fencedSince = nil
    pump?.release(partition.cursor)
  }

  private func hasWaitedLong(_ partition: MemberPartition) -> Bool {
    guard let since = partition.fencedSince else { return false }
    return NIODeadline.now() - since >= .milliseconds(context.fenceWaitMilliseconds)
  }
}

extension TopicGeneration {
  /// Where the partition's records of earlier generations end; nil: it came later.
  fileprivate func cut(of partition: Int32) -> Offset? {
    cuts.indices.contains(Int(partition)) ? Offset(cuts[Int(partition)]) : nil
  }
}
