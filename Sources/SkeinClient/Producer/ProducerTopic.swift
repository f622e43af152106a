public import RecordFormat
import SkeinCore

/// One topic of a producer: where records are handed over. Get it once with `Producer.topic(_:)`.
///
/// | to | use |
/// |---|---|
/// | publish one record and know its place | `send` |
/// | publish many and know each one's place, in order | `sink`, `publish`, `send(contentsOf:)` |
/// | publish many, and hear of failures from `flush` or the delivery handler | `append` |
/// | the same without a suspension or an allocation | `tryAppend` |
///
/// A plain handle; any thread, any number of tasks. Records handed over by one task keep their order
/// within a partition, whichever of these it uses.
public struct ProducerTopic: Sendable {
  /// Whether `tryAppend` took the record.
  public enum AppendOutcome: Sendable, Hashable {
    case accepted
    /// The producer's buffer is full; nothing was taken. `await waitForSpace()`, then try again.
    case bufferFull
  }

  public let name: String
  let index: Int
  let core: ProducerCore
  private let front: StagingFront
  /// nil: the producer's.
  private(set) var codec: Codec?

  init(name: String, index: Int, core: ProducerCore) {
    self.name = name
    self.index = index
    self.core = core
    front = core.front(index)
  }

  /// Partitions as the producer knows them now; explicit partitions are checked against it.
  public var partitionCount: Int32 { core.partitionCount(index) }

  /// The same topic, with the batches of records handed over through this handle compressed by `codec`. A batch
  /// has one codec: handles that alternate make small batches.
  /// - Throws: INVALID_REQUEST for a codec that this SDK does not write.
  public func compressed(with codec: Codec) throws(SkeinError) -> ProducerTopic {
    guard codec.canWrite else {
      throw SkeinError(.invalidRequest, "compression must be none, gzip, lz4 or zstd, is \(codec)")
    }
    var handle = self
    handle.codec = codec
    return handle
  }

  /// Copies a record into its batch, synchronously: the fastest way in, nothing is allocated for it.
  ///
  /// The outcome goes to `ProducerConfiguration.deliveryHandler`; a failure is also thrown by the
  /// next `flush`. Trace context is not added here; see `RecordHeaders.inject(_:)`.
  /// - Parameters:
  ///   - key: decides the partition where the topic's partitioner is murmur2. Valid during the call.
  ///   - timestamp: milliseconds since 1970; nil is now.
  ///   - partition: nil lets the topic's partitioner decide.
  ///   - tag: comes back in the delivery handler.
  /// - Throws: `PARTITION_NOT_FOUND`, `RECORD_TOO_LARGE`, `TIMESTAMP_INVALID`; or what made the
  ///   whole producer fail. All definite: the record was not taken.
  public func tryAppend(
    key: UnsafeRawBufferPointer? = nil, value: UnsafeRawBufferPointer?,
    headers: RecordHeaders? = nil, timestamp: Int64? = nil, partition: Int32? = nil, tag: UInt64 = 0
  ) throws(SkeinError) -> AppendOutcome {
    try take(
      key: key, value: value, headers: headers, timestamp: timestamp, partition: partition, tag: tag,
      waiter: nil) ? .accepted : .bufferFull
  }

  /// Suspends until the buffer has room again.
  public func waitForSpace() async { await core.waitForSpace() }

  /// Hands over a record, suspending while the buffer is full, without waiting for its outcome
  /// (see `tryAppend`).
  /// - Throws: as `tryAppend`; CANCELLED when the task is cancelled before the record is taken.
  public func append(
    key: [UInt8]? = nil, value: [UInt8]?, headers: RecordHeaders? = nil, timestamp: Int64? = nil,
    partition: Int32? = nil, tag: UInt64 = 0
  ) async throws(SkeinError) {
    let headers = core.isTraced ? RecordHeaders.tracing(headers) : headers
    while true {
      let taken = try take(
        key, value, headers: headers, timestamp: timestamp, partition: partition, tag: tag, waiter: nil)
      if taken { return }
      try await spaceOrCancelled()
    }
  }

  /// Publishes a record and waits until it is acknowledged: durable, unless the topic says less.
  ///
  /// Many tasks may wait at once; each batch is acknowledged as a whole. One task that sends record
  /// after record waits for each (up to `linger` and a sync); use `publish`, or `append` and `flush`, to stream.
  /// - Returns: where the record is, and where the time went.
  /// - Throws: why the record was not published. After an error with `outcome == .unknown` it may be
  ///   stored all the same. Cancelling the task takes effect only until the record is taken.
  @discardableResult
  public func send(
    key: [UInt8]? = nil, value: [UInt8]?, headers: RecordHeaders? = nil, timestamp: Int64? = nil,
    partition: Int32? = nil
  ) async throws(SkeinError) -> RecordMetadata {
    guard core.isTraced else {
      return try await sendUntraced(key, value, headers, timestamp, partition)
    }
    return try await traced(headers) { (headers) async throws(SkeinError) in
      try await sendUntraced(key, value, headers, timestamp, partition)
    }
  }

  private func sendUntraced(
    _ key: [UInt8]?, _ value: [UInt8]?, _ headers: RecordHeaders?, _ timestamp: Int64?, _ partition: Int32?
  ) async throws(SkeinError) -> RecordMetadata {
    let stamp = timestamp ?? SystemClock().wallMilliseconds
    while true {
      let metadata: RecordMetadata?
      do {
        metadata = try await withCheckedThrowingContinuation { waiter in
          do throws(SkeinError) {
            let taken = try take(
              key, value, headers: headers, timestamp: stamp, partition: partition, tag: 0,
              waiter: RecordWaiter(caller: waiter))
            if !taken { waiter.resume(returning: nil) }
          } catch { waiter.resume(throwing: error) }
        }
      } catch { throw SkeinError(wrapping: error) }
      if var metadata {
        metadata.timestamp = stamp
        return metadata
      }
      try await spaceOrCancelled()
    }
  }

  // MARK: Helpers

  /// False when the buffer is full.
  func take(
    _ key: [UInt8]?, _ value: [UInt8]?, headers: RecordHeaders?, timestamp: Int64?, partition: Int32?,
    tag: UInt64, waiter: RecordWaiter?
  ) throws(SkeinError) -> Bool {
    try Self.withOptional(key) { (key) throws(SkeinError) in
      try Self.withOptional(value) { (value) throws(SkeinError) in
        try take(
          key: key, value: value, headers: headers, timestamp: timestamp, partition: partition, tag: tag,
          waiter: waiter)
      }
    }
  }

  private func take(
    key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?, headers: RecordHeaders?,
    timestamp: Int64?, partition: Int32?, tag: UInt64, waiter: RecordWaiter?
  ) throws(SkeinError) -> Bool {
    var record = RecordInput(
      key: key, value: value, headers: .none, headerBytes: 0,
      timestamp: timestamp ?? SystemClock().wallMilliseconds, partition: partition, tag: tag, codec: codec)
    guard let headers, !headers.isEmpty else {
      return try core.append(record, topic: index, front: front, waiter: waiter)
    }
    record.headerBytes = headers.sizeInBytes
    return try headers.withSequence { (sequence) throws(SkeinError) in
      record.headers = sequence
      return try core.append(record, topic: index, front: front, waiter: waiter)
    }
  }

  func spaceOrCancelled() async throws(SkeinError) {
    await core.waitForSpace()
    if Task.isCancelled {
      throw SkeinError(
        .cancelled, "cancelled while the buffer was full; nothing was sent", outcome: .definite)
    }
  }

  private static func withOptional<R>(
    _ bytes: [UInt8]?, _ body: (UnsafeRawBufferPointer?) throws(SkeinError) -> R
  ) throws(SkeinError) -> R {
    guard let bytes else { return try body(nil) }
    let result: Result<R, SkeinError> = bytes.withUnsafeBytes { buffer in
      do throws(SkeinError) {
        // An empty array has no base address, and an empty value is not a missing one.
        return .success(try body(buffer.baseAddress == nil ? emptyBytes : buffer))
      } catch { return .failure(error) }
    }
    return try result.get()
  }
}

extension Codec {
  /// Whether batches can be written with it. Snappy is read only.
  var canWrite: Bool { isSupported && self != .snappy }
}

/// Zero bytes at an address.
private var emptyBytes: UnsafeRawBufferPointer {
  UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: 16), count: 0)
}
