import SkeinCore
import Wire

// From the wire's values to the SDK's.

extension TopicSummary {
  init(_ wire: Wire.TopicSummary) {
    self.init(
      name: wire.name, id: wire.topicID, partitionCount: wire.partitions,
      partitioner: wire.partitioner, generation: wire.generation, revision: wire.revision,
      created: wire.createdMs, compression: wire.compression.isEmpty ? "producer" : wire.compression,
      brokerAssigns: wire.brokerAssigns, partitionerHeaders: wire.partitionerHeaders,
      partitionerTimestamps: wire.partitionerTimestamps)
  }

  /// What batches are compressed with where the application says nothing; nil: its own default.
  var codec: Codec? {
    switch compression {
    case "none": Codec.none
    case "gzip": .gzip
    case "lz4": .lz4
    case "zstd": .zstd
    default: nil
    }
  }
}

extension PartitionTraffic {
  init(_ wire: Wire.Traffic) {
    self.init(
      window: .milliseconds(max(0, wire.windowMs)), recordsIn: wire.recordsIn, bytesIn: wire.bytesIn,
      recordsOut: wire.recordsOut, bytesOut: wire.bytesOut)
  }
}

extension PartitionDescription {
  init(_ wire: Wire.PartitionDescription) {
    self.init(
      partition: wire.partition, logStart: wire.logStartOffset, highWatermark: wire.highWatermark,
      logEnd: wire.logEndOffset, durableEnd: wire.durableEndOffset, leaderEpoch: wire.leaderEpoch,
      sizeBytes: wire.sizeBytes, segments: wire.segments, isOnline: wire.state != .offline,
      error: wire.error.map { SkeinError(Fault($0)) },
      traffic: PartitionTraffic(wire.traffic ?? Traffic()),
      lastAppend: wire.lastAppendMs > 0 ? wire.lastAppendMs : nil, producers: wire.producers)
  }
}

extension SettingDescription {
  init(_ wire: Wire.SettingDescription) {
    self.init(
      name: wire.name, value: wire.value, source: wire.source, defaultValue: wire.defaultValue,
      meaning: wire.meaning, allowed: wire.allowed, effect: wire.effect)
  }
}

extension PartitionOffset {
  init(_ wire: PartitionOffsetResult) {
    self.init(
      partition: wire.partition, offset: wire.offset,
      timestamp: wire.timestampMs < 0 ? nil : wire.timestampMs, leaderEpoch: wire.leaderEpoch,
      error: wire.error.map { SkeinError(Fault($0)) })
  }
}

extension BrokerLimits {
  init(_ wire: Limits) {
    self.init(
      maxMessageBytes: wire.maxMessageBytes, maxBatchBytes: wire.maxBatchBytes,
      maxRecordBytes: wire.maxRecordBytes, maxInFlightBatches: wire.maxInFlightBatches,
      maxStreams: wire.maxStreams, defaultFetchBytes: wire.defaultFetchBytes)
  }
}

extension BrokerState {
  init(_ wire: BrokerPhase) {
    switch wire {
    case .starting: self = .starting
    case .ready: self = .ready
    case .draining: self = .draining
    case .failed: self = .failed
    default: self = .unknown
    }
  }
}

extension HealthLevel {
  init(_ wire: HealthStatus) {
    switch wire {
    case .ok: self = .ok
    case .degraded: self = .degraded
    case .failed: self = .failed
    default: self = .unknown
    }
  }
}

extension DirectoryHealth {
  init(_ wire: Wire.DirectoryHealth) {
    let state: State =
      switch wire.state {
      case .online: .online
      case .full: .full
      case .offline: .offline
      default: .unknown
      }
    self.init(
      path: wire.path, state: state, error: wire.error.map { SkeinError(Fault($0)) },
      diskTotal: wire.diskTotalBytes, diskFree: wire.diskFreeBytes, diskReserve: wire.diskReserveBytes,
      journal: .init(used: wire.journalUsedBytes, limit: wire.journalBytes),
      queued: .init(used: wire.queuedBytes, limit: wire.queuedLimitBytes),
      unwritten: .init(used: wire.unwrittenBytes, limit: wire.unwrittenLimitBytes),
      tails: .init(used: wire.tailBytes, limit: wire.tailLimitBytes))
  }
}

extension ClusterHealth {
  init(_ wire: ClusterHealthResponse) {
    self.init(
      level: HealthLevel(wire.status), broker: BrokerState(wire.phase),
      problems: wire.problems.map {
        .init(
          level: HealthLevel($0.severity), subject: $0.subject, reason: $0.reason.isEmpty ? nil : $0.reason,
          what: $0.what, action: $0.action)
      },
      directories: wire.directories.map(DirectoryHealth.init),
      memory: .init(used: wire.memoryReservedBytes, limit: wire.memoryLimitBytes),
      topics: Int(wire.topics), partitions: Int(wire.partitions),
      offlinePartitions: Int(wire.offlinePartitionCount),
      firstOffline: wire.offlinePartitions.map {
        .init(topic: $0.topic, partition: $0.partition, error: $0.error.map { SkeinError(Fault($0)) })
      },
      publishStreams: Int(wire.publishStreams), readStreams: Int(wire.readStreams),
      watchStreams: Int(wire.watchStreams))
  }
}
