import CommitLog
import NIOCore
import SkeinCore

/// A change of generation on all partitions of a topic: each on its own loop, between two batches.
extension PartitionMap {
  /// How long a fence waits for the disk before the swap is given up.
  static let fencePatience = TimeAmount.seconds(10)

  /// Stops every partition of the topic from taking `generation`, and returns when all that was appended is
  /// durable: when `ticket` has passed.
  /// - Returns: where each partition's records of that generation end.
  /// - Throws: what stands against it; partitions stay fenced until `flip`.
  func fence(
    _ topic: TopicID, partitions: Int32, generation: UInt32, _ ticket: FenceTicket
  ) async throws -> [Int64] {
    let cuts = try await each(of: topic, partitions: partitions) { shard, key in
      shard.fence(key, generation, ticket)
    }
    let timer = shards[0].loop.scheduleTask(in: Self.fencePatience) {
      ticket.fail(
        Fault(
          .overloaded,
          "the log did not become durable within \(Self.fencePatience.nanoseconds / 1_000_000_000) s; the partitioner was not changed; look at the disk, then try again",
          retryAfterMilliseconds: 1_000))
    }
    defer { timer.cancel() }
    try await ticket.wait()
    return cuts
  }

  /// Lets every partition take `generation`, and lifts the fence.
  /// - Returns: each partition's end at that moment.
  @discardableResult
  func flip(_ topic: TopicID, partitions: Int32, to generation: UInt32) async throws -> [Int64] {
    try await each(of: topic, partitions: partitions) { shard, key in shard.flip(key, generation) }
  }

  /// One hop to each loop; the answers in the order of the partitions.
  private func each(
    of topic: TopicID, partitions: Int32,
    _ body: @escaping @Sendable (PartitionShard, TopicPartition) -> Int64
  ) async throws -> [Int64] {
    var all = [Int64](repeating: 0, count: Int(partitions))
    // All loops at once: the time until the last one has heard is the pause.
    let futures = shards.map { shard in
      shard.loop.submit { () -> [(Int32, Int64)] in
        (0..<partitions).compactMap { partition in
          let key = TopicPartition(topic: topic, partition: partition)
          return self.shard(of: key) === shard ? (partition, body(shard, key)) : nil
        }
      }
    }
    for future in futures {
      for (partition, value) in try await future.get() { all[Int(partition)] = value }
    }
    return all
  }
}

extension PartitionShard {
  /// On the loop. A partition that is not served here has nothing in flight.
  func fence(_ key: TopicPartition, _ generation: UInt32, _ ticket: FenceTicket) -> Int64 {
    guard let host = host(key) else {
      ticket.pass()
      return 0
    }
    return host.fence(generation, ticket).rawValue
  }

  /// On the loop.
  func flip(_ key: TopicPartition, _ generation: UInt32) -> Int64 {
    host(key)?.flip(to: generation).rawValue ?? 0
  }
}
