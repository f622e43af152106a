import SkeinCore
import Wire

/// Which partitioner a topic has. What is installed at all, and whom the broker trusts, is in `Admin+Plugins.swift`.
extension Admin {
  /// Creates a topic with a partitioner that is a plug-in, or that has weights.
  /// - Throws: as `createTopic`; PLUGIN_NOT_FOUND, PLUGIN_CONFIG_INVALID, PLUGIN_WRONG_KIND, PLUGIN_DISABLED.
  @discardableResult
  public func createTopic(
    _ name: String, partitions: Int32 = 0, binding: PartitionerBinding, settings: [String: String] = [:]
  ) async throws(SkeinError) -> String {
    try await client.unary(
      TopicsMethod.create,
      CreateTopicRequest(
        name: name, partitions: partitions, partitioner: binding.partitioner, settings: settings,
        partitionerConfig: binding.config, partitionerWeights: binding.weights,
        partitionerFallback: binding.fallback), CreateTopicResponse.self
    ).topicID
  }

  /// Places a sample of the topic's newest records with the partitioner that it has and with another one. Changes
  /// nothing.
  /// - Parameter sample: records to look at, 1 to 100,000; 0 is the broker's default.
  /// - Throws: TOPIC_NOT_FOUND, PLUGIN_NOT_FOUND, PLUGIN_WRONG_KIND, PLUGIN_CONFIG_INVALID, PLUGIN_DISABLED.
  public func diffPartitioner(
    _ topic: String, _ binding: PartitionerBinding, sample: UInt32 = 0
  ) async throws(SkeinError) -> PartitionerDifference {
    let reply = try await client.unary(
      PluginsMethod.diff,
      DiffPartitionerRequest(topic: topic, binding: Wire.PartitionerBinding(binding), sample: sample),
      DiffPartitionerResponse.self)
    return PartitionerDifference(
      sampled: reply.sampled, moved: reply.moved, before: reply.before, after: reply.after,
      nanosecondsPerRecord: reply.nanosecondsPerRecord)
  }

  /// Gives a live topic another partitioner; see `PartitionerChange`.
  public func setPartitioner(
    _ topic: String, to binding: PartitionerBinding,
    _ options: PartitionerChangeOptions = PartitionerChangeOptions()
  ) -> PartitionerChange {
    PartitionerChange(
      client, path: PluginsMethod.bind,
      request: BindPartitionerRequest(
        topic: topic, binding: Wire.PartitionerBinding(binding), fence: options.fence,
        acceptReorder: options.acceptsReorder, watchMs: options.watchMilliseconds,
        expectedRevision: options.expectedRevision ?? 0
      ).encoded())
  }

  /// Goes back to the partitioner before, as a new generation; see `PartitionerChange`. Fails with
  /// NO_EARLIER_GENERATION where there was no other one.
  public func rollbackPartitioner(
    _ topic: String, _ options: PartitionerChangeOptions = PartitionerChangeOptions()
  ) -> PartitionerChange {
    PartitionerChange(
      client, path: PluginsMethod.rollback,
      request: RollbackPartitionerRequest(
        topic: topic, fence: options.fence, acceptReorder: options.acceptsReorder,
        watchMs: options.watchMilliseconds
      ).encoded())
  }
}

extension PartitionerChangeOptions {
  /// 0 is the broker's default, so the shortest watch is a millisecond.
  fileprivate var watchMilliseconds: Int64 { watch.map { max(1, $0.nanosecondsClamped / 1_000_000) } ?? 0 }
}

extension Wire.PartitionerBinding {
  init(_ binding: PartitionerBinding) {
    self.init(
      partitioner: binding.partitioner, config: binding.config, weights: binding.weights,
      fallback: binding.fallback)
  }
}

extension PartitionerGeneration {
  init(_ wire: Wire.PartitionerGeneration) {
    self.init(
      generation: wire.generation,
      binding: PartitionerBinding(
        wire.partitioner, config: wire.config, weights: wire.weights, fallback: wire.fallback),
      partitionCount: wire.partitions, sha256: wire.sha256.isEmpty ? nil : wire.sha256, since: wire.sinceMs,
      isFenced: wire.fenced, cuts: wire.cuts, rollsBackTo: wire.rollsBackTo == 0 ? nil : wire.rollsBackTo,
      reason: wire.reason)
  }
}

extension PartitionerProgress {
  init(_ wire: BindProgress) {
    self.init(
      phase: Phase(wire.phase), generation: wire.generation, sampled: wire.sampled, moved: wire.moved,
      cuts: wire.cuts, elapsed: .microseconds(Int64(clamping: wire.elapsedUs)),
      pause: .microseconds(Int64(clamping: wire.pauseUs)),
      rolledBackTo: wire.rolledBackTo == 0 ? nil : wire.rolledBackTo,
      problem: wire.problem.map { SkeinError(Fault($0)) }, brokersDone: Int(wire.brokersDone),
      brokers: Int(wire.brokers))
  }
}

extension PartitionerProgress.Phase {
  init(_ wire: BindPhase) {
    self =
      switch wire {
      case .prepared: .prepared
      case .fenced: .fenced
      case .committed: .committed
      case .flipped: .flipped
      case .drained: .drained
      case .watching: .watching
      case .done: .done
      case .rolledBack: .rolledBack
      default: .other
      }
  }
}
