import CommitLog
import NIOCore
import NIOPosix
import SkeinCore

/// Where one partition stands, copied from its loop.
struct PartitionFacts: Sendable {
  var partition: Int32
  var logStart: Offset
  var highWatermark: Offset
  var durableEnd: Offset
  var logEnd: Offset
  var leaderEpoch: LeaderEpoch
  var summary: PartitionLog.Summary
  var traffic: TrafficMeter.Totals
  /// Why it is not served.
  var fault: Fault?

  var sizeBytes: Int64 { summary.sizeInBytes }
}

/// What administrative requests do to partitions: each hops to the partition's loop and back.
extension BrokerContext {
  /// Opens a topic's partitions from number `first` on in the log and begins to serve them.
  func open(_ topic: Topic, from first: Int32 = 0) async throws {
    let directory = workers.directory
    let settings = PartitionSettings(topic.settings)
    let logs = (first..<max(first, topic.partitions)).map { partition in
      directory.createPartition(
        TopicPartition(topic: topic.id, partition: partition), settings: settings)
    }
    try await partitions.add(logs)
  }

  /// Makes every partition of a topic work by its settings. What was appended before is durable when
  /// this returns, so that a change of `durability` leaves nothing in between.
  func apply(_ settings: TopicSettings, to topic: Topic) async throws {
    try await partitions.setSettings(
      PartitionSettings(settings), topic: topic.id, partitions: topic.partitions)
    if settings.durability != topic.settings.durability { try await workers.flushNow() }
  }

  /// Stops serving a deleted topic and removes its files.
  func close(_ topic: Topic) async throws {
    try await partitions.remove(
      topic: topic.id, partitions: topic.partitions, fault: TopicRegistry.notFound(topic.name))
    workers.directory.deleteTopic(topic.id)
    try await workers.flushNow()
    workers.notifyWriteBehind()
  }

  func partitionStates(of topic: Topic, _ numbers: [Int32]) async throws -> [PartitionFacts] {
    var states: [PartitionFacts] = []
    states.reserveCapacity(numbers.count)
    for shard in partitions.shards {
      let here = numbers.filter {
        partitions.shard(of: TopicPartition(topic: topic.id, partition: $0)) === shard
      }
      guard !here.isEmpty else { continue }
      states += try await shard.loop.submit {
        here.compactMap { shard.facts(TopicPartition(topic: topic.id, partition: $0)) }
      }.get()
    }
    return states.sorted { $0.partition < $1.partition }
  }

  /// The first record at or after `timestamp`, or nil.
  func find(timestamp: Int64, in key: TopicPartition) async throws -> TimestampFound? {
    let shard = partitions.shard(of: key)
    let plan = try await shard.loop.submit { () throws -> TimestampSearch in
      guard let log = shard.log(key) else { throw PartitionShard.gone(key) }
      return log.offset(forTimestamp: timestamp)
    }.get()
    let directory = workers.directory
    return try await workers.readPool.runIfActive { try directory.find(plan) }
  }

  /// Moves the start of a partition; returns where it is once that is durable.
  func deleteRecords(in key: TopicPartition, before: Int64) async throws -> Offset {
    let shard = partitions.shard(of: key)
    let workers = workers
    let start = try await shard.loop.submit { () throws -> Offset in
      guard let log = shard.log(key) else { throw PartitionShard.gone(key) }
      let target = before == -1 ? log.highWatermark : Offset(before)
      workers.directory.submit([try log.deleteRecords(before: target)])
      return max(target, log.logStart)
    }.get()
    // The flusher serves in order: what was submitted is durable when this returns, and the shard
    // learns of the new start before anything that is asked later.
    try await workers.flushNow()
    return start
  }
}

extension PartitionFacts {
  /// On the partition's loop.
  init(_ log: PartitionLog, directory: LogDirectory.State, traffic: TrafficMeter.Totals) {
    let summary = log.summary
    var fault = summary.corruption.map { Fault(.dataCorrupt, $0) }
    if case .offline(let error) = directory { fault = error.fault }
    self.init(
      partition: log.key.partition, logStart: log.logStart, highWatermark: log.highWatermark,
      durableEnd: log.durableEnd, logEnd: log.logEnd, leaderEpoch: log.leaderEpoch, summary: summary,
      traffic: traffic, fault: fault)
  }
}

extension PartitionSettings {
  init(_ settings: TopicSettings) {
    self.init()
    durability = settings.durability == .sync ? .fsync : .memory
    segmentBytes = settings.segmentBytes
    segmentMilliseconds = settings.segmentMilliseconds
    retentionMilliseconds = settings.retentionMilliseconds == -1 ? nil : settings.retentionMilliseconds
    retentionBytes = settings.retentionBytes == -1 ? nil : settings.retentionBytes
    isRetained = settings.cleanupPolicy != .compact
    isCompacted = settings.isCompacted
    minimumDirtyRatio = settings.minimumDirtyRatio
    tombstoneMilliseconds = settings.tombstoneMilliseconds
    compactionLagMilliseconds = settings.compactionLagMilliseconds
  }
}
