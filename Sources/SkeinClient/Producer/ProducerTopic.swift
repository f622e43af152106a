/// One topic of a producer: where records are handed over. Get it once with `Producer.topic(_:)`.
///
/// A plain handle; any thread, any number of tasks. Records appended by one task keep their order
/// within a partition.
public struct ProducerTopic: Sendable {
  /// Whether `tryAppend` took the record.
  public enum AppendOutcome: Sendable, Hashable {
    case accepted
    /// The producer's buffer is full; nothing was taken. `await waitForSpace()`, then try again.
    case bufferFull
  }

  public let name: String
  /// Partitions when the handle was made; explicit partitions are checked against the current count.
  public let partitionCount: Int32
  let index: Int
  let core: ProducerCore

  /// Copies a record into its batch, synchronously: the fastest way in, nothing is allocated for it.
  ///
  /// The outcome goes to `ProducerConfiguration.deliveryHandler`; a failure is also thrown by the
  /// next `flush`.
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
    while true {
      let taken = try withBytes(key, value) { key, value throws(SkeinError) in
        try take(
          key: key, value: value, headers: headers, timestamp: timestamp, partition: partition,
          tag: tag, waiter: nil)
      }
      if taken { return }
      try await spaceOrCancelled()
    }
  }

  /// Publishes a record and waits until it is acknowledged: durable, unless the topic says less.
  ///
  /// Many tasks may wait at once; each batch is acknowledged as a whole. One task that sends record
  /// after record waits for each (up to `linger` and a sync); use `append` and `flush` to stream.
  /// - Throws: why the record was not published. After an error with `outcome == .unknown` it may be
  ///   stored all the same. Cancelling the task takes effect only until the record is taken.
  @discardableResult
  public func send(
    key: [UInt8]? = nil, value: [UInt8]?, headers: RecordHeaders? = nil, timestamp: Int64? = nil,
    partition: Int32? = nil
  ) async throws(SkeinError) -> RecordMetadata {
    let stamp = timestamp ?? SystemClock().wallMilliseconds
    while true {
      let metadata: RecordMetadata?
      do {
        metadata = try await withCheckedThrowingContinuation { waiter in
          do throws(SkeinError) {
            let taken = try withBytes(key, value) { key, value throws(SkeinError) in
              try take(
                key: key, value: value, headers: headers, timestamp: stamp, partition: partition,
                tag: 0, waiter: waiter)
            }
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

  private func take(
    key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?, headers: RecordHeaders?,
    timestamp: Int64?, partition: Int32?, tag: UInt64,
    waiter: CheckedContinuation<RecordMetadata?, any Error>?
  ) throws(SkeinError) -> Bool {
    var record = RecordInput(
      key: key, value: value, headers: .none, headerBytes: 0,
      timestamp: timestamp ?? SystemClock().wallMilliseconds, partition: partition, tag: tag)
    guard let headers, !headers.isEmpty else {
      return try core.append(record, topic: index, waiter: waiter)
    }
    record.headerBytes = headers.sizeInBytes
    return try headers.withSequence { (sequence) throws(SkeinError) in
      record.headers = sequence
      return try core.append(record, topic: index, waiter: waiter)
    }
  }

  private func spaceOrCancelled() async throws(SkeinError) {
    await core.waitForSpace()
    if Task.isCancelled {
      throw SkeinError(
        .cancelled, "cancelled while the buffer was full; nothing was sent", outcome: .definite)
    }
  }

  private func withBytes<R>(
    _ key: [UInt8]?, _ value: [UInt8]?,
    _ body: (UnsafeRawBufferPointer?, UnsafeRawBufferPointer?) throws(SkeinError) -> R
  ) throws(SkeinError) -> R {
    try Self.withOptional(key) { (key) throws(SkeinError) in
      try Self.withOptional(value) { (value) throws(SkeinError) in try body(key, value) }
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

/// Zero bytes at an address.
private var emptyBytes: UnsafeRawBufferPointer {
  UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: 16), count: 0)
}
