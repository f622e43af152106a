/// A topic in a listing.
public struct TopicSummary: Sendable, Hashable {
  public var name: String
  /// 32 hexadecimal digits; a topic made again under the same name has another id.
  public var id: String
  public var partitionCount: Int32
  /// `murmur2`, `sticky`, `round-robin`, or a plug-in as `ID@VERSION`.
  public var partitioner: String
  /// Rises when the partitioner or the partition count changes.
  public var generation: UInt32
  /// Rises with every change of the topic; for `expectedRevision`.
  public var revision: Int64
  /// Milliseconds since 1970; 0 = not known.
  public var created: Int64
  /// The setting `compression.type`: `producer`, `none`, `gzip`, `lz4` or `zstd`.
  public var compression: String
  /// The partitioner is a plug-in: only the broker can say where records go.
  public var brokerAssigns: Bool
  /// What that plug-in is told of a record besides its key: the values of these headers.
  public var partitionerHeaders: [String]
  /// And the record's timestamp.
  public var partitionerTimestamps: Bool
}

/// What went through a partition lately.
public struct PartitionTraffic: Sendable, Hashable {
  /// The time that the numbers cover; divide by it for rates. Zero when nothing ever went through.
  public var window: Duration
  public var recordsIn: Int64
  /// Stored bytes.
  public var bytesIn: Int64
  public var recordsOut: Int64
  public var bytesOut: Int64
}

/// One partition as the broker sees it.
public struct PartitionDescription: Sendable {
  public var partition: Int32
  /// The first offset that can be read.
  public var logStart: Int64
  /// The end of what is committed: the offset of the next committed record.
  public var highWatermark: Int64
  public var logEnd: Int64
  /// The first offset that is not yet durable.
  public var durableEnd: Int64
  public var leaderEpoch: Int32
  /// Bytes on disk.
  public var sizeBytes: Int64
  /// Segments on disk, the active one included.
  public var segments: Int32
  /// It is served; otherwise `error` says why not, e.g. DATA_CORRUPT.
  public var isOnline: Bool
  public var error: SkeinError?
  public var traffic: PartitionTraffic
  /// The broker's clock at the newest append, in milliseconds since 1970; nil: none yet.
  public var lastAppend: Int64?
  /// Idempotent producers remembered.
  public var producers: Int32
}

/// One setting of a topic.
public struct SettingDescription: Sendable, Hashable {
  public var name: String
  public var value: String
  /// `default` or `topic`.
  public var source: String
  public var defaultValue: String
  public var meaning: String
  /// Which values are allowed.
  public var allowed: String
  /// From when on a change counts.
  public var effect: String
}

/// A topic with its partitions and settings.
public struct TopicDescription: Sendable {
  public var topic: TopicSummary
  public var partitions: [PartitionDescription]
  public var settings: [SettingDescription]
  /// Of the partitioner, the newest last; at most 16 are kept.
  public var generations: [PartitionerGeneration]
}

/// What a change of settings did, or would do.
public struct TopicUpdate: Sendable {
  public var topic: TopicSummary
  /// Settings whose value or source changed, as they are now.
  public var changed: [SettingDescription]
}

/// A place in every partition of a topic.
public enum OffsetQuery: Sendable, Hashable {
  /// The first offset that can be read.
  case beginning
  /// The high watermark.
  case end
  /// The first record at or after this time (milliseconds since 1970); the high watermark if none is.
  case timestamp(Int64)
}

/// An answer about one partition.
public struct PartitionOffset: Sendable {
  public var partition: Int32
  public var offset: Int64
  /// The record's timestamp in milliseconds since 1970; nil if there is none.
  public var timestamp: Int64?
  public var leaderEpoch: Int32
  /// Set when this partition failed; the other fields then mean nothing.
  public var error: SkeinError?
}

/// The limits that the broker announces, in bytes unless stated otherwise.
public struct BrokerLimits: Sendable, Hashable {
  public var maxMessageBytes: Int64
  public var maxBatchBytes: Int64
  public var maxRecordBytes: Int64
  /// Batches in flight to one partition by one producer.
  public var maxInFlightBatches: Int32
  /// Open calls on one connection.
  public var maxStreams: Int32
  public var defaultFetchBytes: Int64
}

/// One broker.
public struct BrokerDescription: Sendable, Hashable {
  public var id: Int32
  public var address: String
  public var version: String
  /// Milliseconds since 1970.
  public var started: Int64
}

/// The cluster and the caller as the broker sees it.
public struct ClusterDescription: Sendable, Hashable {
  public var clusterID: String
  public var brokers: [BrokerDescription]
  public var limits: BrokerLimits?
  public var tenant: String
  public var principal: String
}
