import CommitLog
import NIOCore
import NIOPosix
import SkeinCore

/// All shards, and which of them is a partition's home. Threading: any thread.
final class PartitionMap: Sendable {
  let shards: [PartitionShard]

  private let gatherers: [ObjectIdentifier: AppendGatherer]

  init(shards: [PartitionShard]) {
    self.shards = shards
    self.gatherers = Dictionary(
      uniqueKeysWithValues: shards.map {
        (ObjectIdentifier($0.loop), AppendGatherer(loop: $0.loop, shards: shards))
      })
  }

  /// Appends at the end of the caller's tick; `loop` is the caller's, one of the shards'.
  func append(_ request: AppendRequest, to key: TopicPartition, from loop: any EventLoop) {
    let index = index(of: key)
    if let gatherer = gatherers[ObjectIdentifier(loop)] {
      gatherer.add(request, to: key, shard: index)
    } else {
      shards[index].onLoop { $0.append([(key, request)]) }
    }
  }

  /// The shard of a partition: by its number first, so that the partitions of one topic spread
  /// over all loops, and by the topic, so that one-partition topics do too.
  func index(of key: TopicPartition) -> Int {
    let start = key.topic.low % UInt64(shards.count)
    return Int((start + UInt64(UInt32(bitPattern: key.partition))) % UInt64(shards.count))
  }

  func shard(of key: TopicPartition) -> PartitionShard { shards[index(of: key)] }

  /// Begins to serve partitions. Returns when every shard knows them.
  func add(_ logs: [PartitionLog]) async throws {
    var byShard = [[PartitionLog]](repeating: [], count: shards.count)
    for log in logs { byShard[index(of: log.key)].append(log) }
    for (shard, logs) in zip(shards, byShard) where !logs.isEmpty {
      let box = Unchecked(logs)
      try await shard.loop.submit { for log in box.value { shard.add(log) } }.get()
    }
  }

  func remove(topic: TopicID, partitions: Int32, fault: Fault) async throws {
    for shard in shards {
      try await shard.loop.submit {
        shard.remove(topic: topic, partitions: partitions, fault: fault)
      }.get()
    }
  }

  /// Returns when every partition of the topic works by `settings`.
  func setSettings(_ settings: PartitionSettings, topic: TopicID, partitions: Int32) async throws {
    for shard in shards {
      try await shard.loop.submit {
        shard.setSettings(settings, topic: topic, partitions: partitions)
      }.get()
    }
  }

  /// The flusher's news, one hop to each shard. Called on the flusher's thread.
  func advance(_ advances: [DurableAdvance]) {
    var byShard = [[DurableAdvance]](repeating: [], count: shards.count)
    for advance in advances { byShard[index(of: advance.log.key)].append(advance) }
    for (shard, advances) in zip(shards, byShard) where !advances.isEmpty {
      let box = Unchecked(advances)
      shard.loop.execute { shard.advance(box.value) }
    }
  }

  func failAll(_ fault: Fault) {
    for shard in shards { shard.loop.execute { shard.failAll(fault) } }
  }
}

/// Carries loop-confined values to their loop. `@unchecked Sendable`: made by one thread, which
/// drops it, and opened only on the destination's loop.
struct Unchecked<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
