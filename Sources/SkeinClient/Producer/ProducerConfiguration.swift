/// When a record counts as published.
public enum Acknowledgement: Sendable, Hashable {
  /// The topic's own level: durable, unless it was created with `durability=memory`.
  case topicDefault
  /// When the partition's leader has it (synced, where the topic is durable).
  case leader
  /// When every in-sync replica has it durably.
  case all
}

/// How a producer batches, retries and bounds its memory. Every field has a default that suits a
/// service; `linger` trades latency for fewer, larger batches.
public struct ProducerConfiguration: Sendable {
  /// A batch is closed when its records reach this many bytes (before compression). Default 128 KiB.
  public var batchBytes = 128 * 1024
  /// A batch waits at most this long for more records. While the partition's window is full it
  /// goes on filling for nothing. Default 5 ms; `.zero` sends each batch as soon as it can leave.
  public var linger: Duration = .milliseconds(5)
  /// Batches in flight per partition; the broker's announced window wins if it is smaller. Default 32.
  public var maxInFlightBatches = 32
  /// Bytes of records accepted and not yet acknowledged. At the bound `send` suspends and `append`
  /// returns `.bufferFull`. While records flow to a topic whose partitioner is a plug-in, half as much may be
  /// kept besides, for what comes next. Default 64 MiB.
  public var bufferBytes = 64 * 1024 * 1024
  /// From the acceptance of a record to its acknowledgement. Past it a record that was never sent
  /// fails; one that may have been stored fails the producer (P10). Default 120 s.
  public var deliveryDeadline: Duration = .seconds(120)
  /// Compression of batches: none, gzip, lz4 or zstd; a topic or a call may say otherwise
  /// (`Producer.topic(_:compression:)`, `ProducerTopic.compressed(with:)`). Default nil: what the topic's setting
  /// `compression.type` says, and none where that leaves it to the producer. A batch that compression does not
  /// make smaller is sent plain.
  public var compression: Codec?
  /// Default: the topic's own level.
  public var acknowledgement: Acknowledgement = .topicDefault
  /// Called for every finished batch, in the order of acknowledgement, on the connection's event
  /// loop: it must return quickly and must not block.
  public var deliveryHandler: (@Sendable (BatchDelivery) -> Void)?

  public init() {}

  /// Everything wrong with the values, in one error.
  func validated() throws(SkeinError) -> ProducerConfiguration {
    var violations: [SkeinError.FieldViolation] = []
    func check(_ field: String, _ ok: Bool, _ text: String) {
      if !ok { violations.append(.init(field: field, description: text)) }
    }
    check("batchBytes", (1...(15 << 20)).contains(batchBytes), "must be 1 to 15728640, is \(batchBytes)")
    check("linger", linger >= .zero && linger <= .seconds(60), "must be 0 to 60 s, is \(linger)")
    check(
      "maxInFlightBatches", (1...1024).contains(maxInFlightBatches),
      "must be 1 to 1024, is \(maxInFlightBatches)")
    check("bufferBytes", bufferBytes >= batchBytes, "must be at least batchBytes, is \(bufferBytes)")
    check("deliveryDeadline", deliveryDeadline > linger, "must be longer than linger")
    check(
      "compression", compression?.canWrite ?? true,
      "must be none, gzip, lz4 or zstd, is \(compression.map { "\($0)" } ?? "nil")")
    guard violations.isEmpty else {
      var error = SkeinError(
        .invalidRequest,
        "producer configuration: "
          + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "))
      error.violations = violations
      throw error
    }
    return self
  }
}

/// Where a published record is.
public struct RecordMetadata: Sendable, Hashable {
  public var topic: String
  public var partition: Int32
  /// nil when the broker knows the record as a duplicate that is too old to look up (P5).
  public var offset: Int64?
  /// Its timestamp, in milliseconds since 1970.
  public var timestamp: Int64
  /// Where the broker spent the time of its batch, in microseconds.
  public var timings: PublishTimings
  /// From the first record of its batch to the acknowledgement, as this client saw it: lingering and the
  /// network included.
  public var latency: Duration
}

/// The broker's answer to a whole batch.
public struct BatchAcknowledgement: Sendable, Hashable {
  /// Offset of the first record; nil for a duplicate too old to look up (P5).
  public var baseOffset: Int64?
  /// It had been appended by an earlier sending.
  public var isDuplicate: Bool
  /// Where the broker spent the time, in microseconds.
  public var timings: PublishTimings

  package init(baseOffset: Int64?, isDuplicate: Bool, timings: PublishTimings = PublishTimings()) {
    self.baseOffset = baseOffset
    self.isDuplicate = isDuplicate
    self.timings = timings
  }
}

/// Where the time of a publish went, in microseconds (protocol.md, stream rule 7).
public struct PublishTimings: Sendable, Hashable {
  public var queued: Int64 = 0
  public var throttled: Int64 = 0
  public var appended: Int64 = 0
  public var synced: Int64 = 0
  public var replicated: Int64 = 0
  package init() {}
}

/// One finished batch, for `ProducerConfiguration.deliveryHandler`.
public struct BatchDelivery: Sendable {
  public var topic: String
  /// -1: they failed before the topic's partitioner said where they go.
  public var partition: Int32
  public var recordCount: Int
  /// The `tag` given with each record, in order.
  public var tags: [UInt64]
  /// From the batch's first record to the acknowledgement; zero for a batch that never left.
  public var latency: Duration
  public var result: Result<BatchAcknowledgement, SkeinError>
}
