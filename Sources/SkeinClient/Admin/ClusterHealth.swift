/// Where a broker is in its life; it only moves down this list.
public enum BrokerState: String, Sendable, Hashable {
  case unknown, starting, ready, draining
  /// Its log directory is offline: restart it once the disk is in order.
  case failed
}

/// How bad it is.
public enum HealthLevel: String, Sendable, Hashable {
  case unknown
  /// Everything is served.
  case ok
  /// Something is refused or near a limit.
  case degraded
  /// Nothing can be published.
  case failed
}

/// How a broker is.
public struct ClusterHealth: Sendable {
  /// Something to see to.
  public struct Problem: Sendable, Hashable {
    public var level: HealthLevel
    /// What it is about, e.g. "partition orders/3".
    public var subject: String
    /// Of the error catalogue, where requests are refused for it.
    public var reason: String?
    /// With the value and the limit.
    public var what: String
    /// The cure.
    public var action: String
  }

  /// A partition that is not served.
  public struct OfflinePartition: Sendable {
    public var topic: String
    public var partition: Int32
    public var error: SkeinError?
  }

  /// Bytes of something bounded.
  public struct Usage: Sendable, Hashable {
    public var used: Int64
    public var limit: Int64
  }

  public var level: HealthLevel
  public var broker: BrokerState
  /// The worst first.
  public var problems: [Problem]
  public var directories: [DirectoryHealth]
  /// The memory budget for clients' buffers.
  public var memory: Usage
  /// Of the caller's tenant.
  public var topics: Int
  public var partitions: Int
  public var offlinePartitions: Int
  /// The first 1,000 of them.
  public var firstOffline: [OfflinePartition]
  public var publishStreams: Int
  public var readStreams: Int
  public var watchStreams: Int
}

/// One log directory; sizes in bytes.
public struct DirectoryHealth: Sendable {
  public enum State: String, Sendable, Hashable {
    case unknown, online
    /// Less than the reserve is free: publishing is refused, all else goes on.
    case full
    /// After an I/O error.
    case offline
  }

  public var path: String
  public var state: State
  /// Why it is full or offline.
  public var error: SkeinError?
  public var diskTotal: Int64
  public var diskFree: Int64
  public var diskReserve: Int64
  public var journal: ClusterHealth.Usage
  /// Appended and not yet synced.
  public var queued: ClusterHealth.Usage
  /// Synced in the journal and not yet in a segment.
  public var unwritten: ClusterHealth.Usage
  /// Batches in memory for readers at the end.
  public var tails: ClusterHealth.Usage
}

/// How far a drain is.
public struct DrainProgress: Sendable, Hashable {
  /// Streams that were open when it began.
  public var openStreams: Int
  /// Until the broker closes them in any case.
  public var deadline: Duration
  /// It had begun before.
  public var hadBegun: Bool
}

/// What a partition lost, or would lose.
public struct LossResult: Sendable {
  public var partition: Int32
  public var damage: String
  public var logStart: Int64
  public var logEnd: Int64
  public var sizeBefore: Int64
  public var size: Int64
  public var isOnline: Bool
  /// Why nothing was done, e.g. PARTITION_ONLINE.
  public var error: SkeinError?
}
