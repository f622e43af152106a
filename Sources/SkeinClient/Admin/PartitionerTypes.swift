/// Which partitioner a topic has, how it is configured, and what happens while it does not answer.
public struct PartitionerBinding: Sendable, Hashable {
  /// A built-in (`murmur2`, `sticky`, `round-robin`), or a plug-in as `ID@VERSION`.
  public var partitioner: String
  /// For a plug-in: one JSON object that fits its schema; empty is `{}`.
  public var config: String
  /// One per partition, for partitioners that look at them; empty: all equal.
  public var weights: [UInt32]
  /// While the plug-in does not answer: `reject` (the default; publishing waits), or a built-in's name, which moves
  /// keys. Empty is the default.
  public var fallback: String

  public init(_ partitioner: String, config: String = "", weights: [UInt32] = [], fallback: String = "") {
    self.partitioner = partitioner
    self.config = config
    self.weights = weights
    self.fallback = fallback
  }
}

/// What would move if a topic had another partitioner.
public struct PartitionerDifference: Sendable, Hashable {
  /// Records with a key that were placed both ways.
  public var sampled: UInt64
  /// How many of them would go to another partition.
  public var moved: UInt64
  /// Records of the sample per partition, as it is.
  public var before: [UInt64]
  /// The same, as it would be.
  public var after: [UInt64]
  /// What the other partitioner took for a record, in nanoseconds.
  public var nanosecondsPerRecord: UInt64

  /// 0 to 1; 0 without a sample.
  public var movedShare: Double { sampled == 0 ? 0 : Double(moved) / Double(sampled) }
}

/// How a topic gets another partitioner.
public struct PartitionerChangeOptions: Sendable, Hashable {
  /// Every record of the old generation is durable before any of the new one is taken, and the cut of each partition
  /// is kept: a reader can keep the order of keys. Publishers wait for that moment.
  public var fence = false
  /// Without a fence: go on although keys move, so that a key's records can be read out of order.
  public var acceptsReorder = false
  /// How long the broker watches the new one and rolls it back by itself; nil is the broker's default.
  public var watch: Duration?
  /// Only if the topic is at this revision; nil: whatever it is at. Not for a rollback.
  public var expectedRevision: Int64?

  public init() {}
}

/// One step of a change, told when it is done (`watching`: when it begins).
public struct PartitionerProgress: Sendable {
  public enum Phase: String, Sendable, Hashable {
    /// Loaded and probed; `sampled` and `moved` say what it changes.
    case prepared
    /// Nothing of the old generation is in flight; `cuts` says where it ends.
    case fenced
    /// Durable: `generation` is in force, also after a crash, and whether somebody listens or not.
    case committed
    /// Every partition takes the new generation only.
    case flipped
    /// The old instance is gone.
    case drained
    case watching
    /// The end: nothing was wrong.
    case done
    /// The end: `rolledBackTo` is in force again, `problem` says why.
    case rolledBack = "rolled-back"
    /// A phase that this SDK does not know.
    case other
  }

  public var phase: Phase
  public var generation: UInt32
  public var sampled: UInt64
  public var moved: UInt64
  /// The first offset of the new generation, per partition.
  public var cuts: [Int64]
  /// Since the call began, by the broker's clock.
  public var elapsed: Duration
  /// How long publishers were held up.
  public var pause: Duration
  public var rolledBackTo: UInt32?
  public var problem: SkeinError?
  /// Brokers that are there, of all.
  public var brokersDone: Int
  public var brokers: Int
}

/// One partitioner generation of a topic.
public struct PartitionerGeneration: Sendable, Hashable {
  public var generation: UInt32
  public var binding: PartitionerBinding
  public var partitionCount: Int32
  /// Of the plug-in's file, hexadecimal; nil for a built-in.
  public var sha256: String?
  /// Milliseconds since 1970.
  public var since: Int64
  /// Every record of the generations before lies below `cuts`: a reader that reads all partitions up to their cuts
  /// before it goes on in any sees the records of each key in order.
  public var isFenced: Bool
  /// The first offset of this generation, per partition; empty without a fence.
  public var cuts: [Int64]
  /// It restores that generation.
  public var rollsBackTo: UInt32?
  /// Why it was rolled back by itself; empty otherwise.
  public var reason: String
}
