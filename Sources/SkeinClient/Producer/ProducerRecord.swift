public import RecordFormat

/// A record to publish, with bytes of its own: for sinks and streams. (`ProducerTopic.tryAppend` takes pointers.)
public struct ProducerRecord: Sendable, Hashable {
  /// nil and empty are different things.
  public var key: [UInt8]?
  /// nil deletes the key where a topic is compacted.
  public var value: [UInt8]?
  public var headers: RecordHeaders?
  /// Milliseconds since 1970; nil is when it is handed over.
  public var timestamp: Int64?
  /// nil lets the topic's partitioner decide.
  public var partition: Int32?

  public init(
    key: [UInt8]? = nil, value: [UInt8]?, headers: RecordHeaders? = nil, timestamp: Int64? = nil,
    partition: Int32? = nil
  ) {
    self.key = key
    self.value = value
    self.headers = headers
    self.timestamp = timestamp
    self.partition = partition
  }
}

/// What became of one record of a sink or stream.
public struct PublishResult: Sendable {
  /// The record's number: 0 for the first that was handed over.
  public var number: UInt64
  public var result: Result<RecordMetadata, SkeinError>

  /// Where it is.
  /// - Throws: why it was not published.
  public func get() throws(SkeinError) -> RecordMetadata { try result.get() }
}
