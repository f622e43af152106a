import Logging
import SkeinCore
import Wire

/// Gives a live topic another partitioner: prepare, fence, commit, flip, drain, watch (Docs/plugins/swap.md).
///
/// Everything before the commit leaves nothing behind, everything after it is found again by the next start:
/// the commit is one transaction of the metadata store. Runs on the admin queue.
struct Swap: Sendable {
  let context: BrokerContext
  let order: Order
  let listener: SwapListener

  /// What an operator asked for.
  struct Order: Sendable {
    var principal: Principal
    var topic: String
    /// Nil: back to the generation before.
    var binding: PartitionerBinding?
    var fence: Bool
    var acceptReorder: Bool
    /// Milliseconds; 0 = the broker's default.
    var watchMilliseconds: Int64
    var expectedRevision: Int64 = 0
  }

  /// A generation that could be committed.
  struct Prepared: Sendable {
    var base: Topic
    var next: TopicGeneration
    /// Nil for a built-in.
    var loaded: LoadedPartitioner?
    var expectedShare: Double?
    var isFenced: Bool
    var watchMilliseconds: Int64
    var expectedRevision: Int64 = 0
  }

  private var partitioning: Partitioning { context.partitioning }

  func run() async {
    do {
      let topic = try context.registry.topic(order.topic, of: order.principal.tenant)
      let claim = try partitioning.claim(topic, isRollback: order.binding == nil)
      defer { partitioning.release(claim) }
      let committed: Topic
      let prepared: Prepared
      do {
        prepared = try await prepare(topic)
        committed = try await SwapCommit(context: context, listener: listener).carryOut(prepared)
        claim.previous?.supersede()
      } catch {
        partitioning.counts.failed.add(1)
        throw error
      }
      context.audit(
        "partitioner changed", by: order.principal,
        [
          "topic": topic.name, "generation": "\(committed.generation)",
          "partitioner": committed.current.binding.partitioner, "fenced": "\(committed.current.isFenced)",
          "rolls_back_to": "\(committed.current.rollsBackTo)", "revision": "\(committed.revision)",
        ])
      await SwapWatch(
        context: context, claim: claim, listener: listener, expectedShare: prepared.expectedShare
      ).run(committed)
    } catch {
      listener.end(Fault(wrapping: error))
    }
  }

  // MARK: Prepare

  private func prepare(_ topic: Topic) async throws -> Prepared {
    try TopicRegistry.check(expected: order.expectedRevision, topic)
    var next: TopicGeneration
    if let wire = order.binding {
      next = try Self.generation(after: topic, wire)
    } else {
      next = try Self.rollback(of: topic)
    }
    let loaded = try await Self.load(&next, topic, context)
    let watch = try watchMilliseconds(isPlugin: loaded != nil)
    let outcome = try await diff(topic, next, loaded, sample: PartitionerDiff.standardSample)
    guard order.fence || order.acceptReorder || outcome.moved == 0 else {
      throw Fault(
        .reorderNotAccepted,
        "\(outcome.moved) of \(outcome.sampled) sampled records of topic \"\(topic.name)\" would go to another partition, so that records of a key could be read out of order; use --fence, or say --accept-reorder",
        metadata: [
          "topic": topic.name, "moved": String(outcome.moved), "sampled": String(outcome.sampled),
        ])
    }
    guard !listener.isAbandoned else { throw SwapCommit.abandoned }
    listener.tell(.prepared, next.number) { progress in
      progress.sampled = outcome.sampled
      progress.moved = outcome.moved
    }
    return Prepared(
      base: topic, next: next, loaded: loaded, expectedShare: outcome.largestShare, isFenced: order.fence,
      watchMilliseconds: watch, expectedRevision: order.expectedRevision)
  }

  /// - Throws: `INVALID_REQUEST` with every problem.
  static func generation(after topic: Topic, _ wire: PartitionerBinding) throws(Fault) -> TopicGeneration {
    var violations: [Fault.FieldViolation] = []
    let binding = TopicBinding(checking: wire, partitions: topic.partitions, violations: &violations)
    guard violations.isEmpty else {
      throw Fault(
        .invalidRequest,
        "the partitioner of topic \"\(topic.name)\" was not changed: "
          + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        metadata: ["topic": topic.name], violations: violations)
    }
    return TopicGeneration(topic.generation &+ 1, binding, partitions: topic.partitions)
  }

  /// - Throws: `NO_EARLIER_GENERATION`.
  static func rollback(of topic: Topic) throws(Fault) -> TopicGeneration {
    guard let earlier = topic.earlierGeneration else {
      throw Fault(
        .noEarlierGeneration,
        "topic \"\(topic.name)\" has had no other partitioner than \(topic.current.binding.partitioner); choose one with `skein topic partitioner set`",
        metadata: ["topic": topic.name, "generation": String(topic.generation)])
    }
    var next = TopicGeneration(
      topic.generation &+ 1, earlier.binding.fitting(topic.partitions), partitions: topic.partitions)
    next.rollsBackTo = earlier.number
    return next
  }

  /// The instance of a generation, and what its manifest asks for; nil for a built-in. One that is still warm
  /// is used again.
  static func load(
    _ next: inout TopicGeneration, _ topic: Topic, _ context: BrokerContext
  ) async throws(Fault) -> LoadedPartitioner? {
    guard next.binding.builtIn == nil else { return nil }
    let loaded: LoadedPartitioner
    if next.rollsBackTo != 0, let warm = context.partitioning.warm(topic.id),
      warm.generation.binding.partitioner == next.binding.partitioner,
      warm.generation.binding.config == next.binding.config
    {
      loaded = try warm.loaded.get()
    } else {
      loaded = try await context.partitioning.load(next.binding, usedBy: topic.name)
    }
    next.sha256 = loaded.sha256
    next.headers = loaded.headers
    next.needsTimestamps = loaded.needsTimestamps
    return loaded
  }

  private func watchMilliseconds(isPlugin: Bool) throws(Fault) -> Int64 {
    let wanted = order.watchMilliseconds
    guard (0...Self.longestWatch).contains(wanted) else {
      throw Fault(
        .invalidRequest,
        "watch_ms \(wanted) is outside 0 to \(Self.longestWatch)",
        violations: [.init(field: "watch_ms", description: "0 to \(Self.longestWatch), in milliseconds")])
    }
    // A built-in cannot crash or answer badly: it is watched only when somebody wants to see it.
    return wanted > 0 ? wanted : isPlugin ? context.partitionerWatchMilliseconds : 0
  }

  /// A day.
  static let longestWatch: Int64 = 86_400_000

  private func diff(
    _ topic: Topic, _ next: TopicGeneration, _ loaded: LoadedPartitioner?, sample: Int
  ) async throws -> PartitionerDiff.Outcome {
    try await PartitionerDiff(
      context: context, topic: topic, current: context.side(of: topic),
      next: .init(generation: next, instance: loaded?.instance)
    ).run(sample: sample)
  }
}

extension BrokerContext {
  /// The partitioner in force, for comparing.
  func side(of topic: Topic) -> PartitionerDiff.Side {
    PartitionerDiff.Side(
      generation: topic.current,
      instance: topic.builtIn == nil ? try? partitioning.placer(of: topic)?.loaded.get().instance : nil)
  }
}
