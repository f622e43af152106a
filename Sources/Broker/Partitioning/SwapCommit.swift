import Logging
import SkeinCore
import Wire

/// The part of a swap that publishers notice: fence, commit, flip; and the draining after it.
struct SwapCommit: Sendable {
  let context: BrokerContext
  let listener: SwapListener

  private var partitioning: Partitioning { context.partitioning }

  static let abandoned = Fault(
    .cancelled, "the caller left before the new partitioner was committed; nothing was changed")

  /// Makes the prepared generation the one in force.
  func carryOut(_ prepared: Swap.Prepared) async throws -> Topic {
    let name = prepared.base.name
    let (committed, old) = try await context.registry.alone(name, of: prepared.base.tenant) {
      let now = try context.registry.topic(name, of: prepared.base.tenant)
      guard now.id == prepared.base.id, now.generation == prepared.base.generation else {
        throw Fault(
          .conflict,
          "topic \"\(name)\" got another generation meanwhile (\(now.generation)); look at it again and repeat",
          metadata: ["topic": name, "generation": String(now.generation)])
      }
      try TopicRegistry.check(expected: prepared.expectedRevision, now)
      guard !listener.isAbandoned else { throw Self.abandoned }
      guard !partitioning.isStopping else {
        throw Fault(.draining, "the broker is stopping; the partitioner was not changed")
      }
      return try await replace(now, prepared)
    }
    if let old { await partitioning.drain(old) }
    listener.tell(.drained, committed.generation)
    return committed
  }

  /// Alone in the topic's lane.
  private func replace(_ now: Topic, _ prepared: Swap.Prepared) async throws -> (Topic, TopicPlacer?) {
    let partitions = context.partitions
    var next = prepared.next
    let begun = context.time.monotonicNanoseconds
    if prepared.isFenced {
      let ticket = FenceTicket(partitions: Int(now.partitions))
      do {
        next.cuts = try await partitioning.fencing(ticket) {
          try await partitions.fence(
            now.id, partitions: now.partitions, generation: now.generation, ticket)
        }
      } catch {
        _ = try await flip(now, to: now.generation)
        throw error
      }
      next.isFenced = true
      listener.tell(.fenced, now.generation) { $0.cuts = next.cuts }
    }
    let wall = context.time.wallMilliseconds
    next.sinceMilliseconds = wall
    if prepared.watchMilliseconds > 0 { next.watchedUntilMilliseconds = wall + prepared.watchMilliseconds }
    let committed: Topic
    do {
      committed = try await context.registry.changeSurely(now, to: now.succeeded(by: next)) { problem in
        context.logger.error(
          "whether the partitioner was changed is not known yet; the topic waits",
          metadata: ["topic": "\(now.name)", "error": "\(problem)"])
      } gaveUp: {
        partitioning.isStopping
      }
    } catch {
      // Definitely not committed: the old one goes on.
      _ = try await flip(now, to: now.generation)
      throw error
    }
    partitioning.counts.committed.add(1)
    listener.tell(.committed, committed.generation)
    if let loaded = prepared.loaded { partitioning.install(committed, .success(loaded)) }
    context.registry.publish(committed)
    let ends = try await flip(now, to: committed.generation)
    let pause = context.time.monotonicNanoseconds - begun
    let old = partitioning.retire(before: committed)
    partitioning.keepWarm(prepared.watchMilliseconds > 0 ? old : nil, of: committed.id)
    listener.tell(.flipped, committed.generation) { progress in
      progress.cuts = prepared.isFenced ? next.cuts : ends
      progress.pauseUs = UInt64(max(0, pause) / 1_000)
    }
    return (committed, old)
  }

  /// A broker that stops takes nothing more under any generation.
  private func flip(_ topic: Topic, to generation: UInt32) async throws -> [Int64] {
    guard !partitioning.isStopping else {
      throw Fault(
        .draining, "the broker is stopping; the generation that is committed is in force after its start")
    }
    return try await context.partitions.flip(topic.id, partitions: topic.partitions, to: generation)
  }
}
