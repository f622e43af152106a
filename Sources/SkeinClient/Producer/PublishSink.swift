import SkeinCore
import Synchronization

/// Where records go in one after the other, and their results come out in the same order.
///
/// ```swift
/// let sink = orders.sink()
/// async let results: Void = {
///   for await published in sink { print(published.number, try published.get().offset ?? -1) }
/// }()
/// for order in incoming { try await sink.send(ProducerRecord(key: order.key, value: order.bytes)) }
/// sink.finish()
/// try await results
/// ```
/// `send` suspends while the producer's buffer is full, and while `limit` results have not been read: read
/// them in another task. Sending: one task at a time, so that numbers mean something. Reading: one consumer.
public final class PublishSink: AsyncSequence, Sendable {
  public typealias Element = PublishResult
  public typealias Failure = Never

  private let topic: ProducerTopic
  private let state: SinkState

  init(_ topic: ProducerTopic, limit: Int) {
    self.topic = topic
    state = SinkState(limit: Swift.max(1, limit))
  }

  /// Hands over a record.
  /// - Returns: its number. A record that is refused (too large, no such partition) has a number and a result
  ///   as well.
  /// - Throws: CANCELLED when the task is cancelled before there is room; CANCELLED after `finish`.
  @discardableResult
  public func send(_ record: ProducerRecord) async throws(SkeinError) -> UInt64 {
    let stamp = record.timestamp ?? SystemClock().wallMilliseconds
    let number = try await state.enter(timestamp: stamp)
    let headers = topic.core.isTraced ? RecordHeaders.tracing(record.headers) : record.headers
    do throws(SkeinError) {
      while true {
        let taken = try topic.take(
          record.key, record.value, headers: headers, timestamp: stamp, partition: record.partition, tag: 0,
          waiter: RecordWaiter(sink: state, number: number))
        if taken { return number }
        try await topic.spaceOrCancelled()
      }
    } catch {
      state.settle(number, .failure(error))
      if error.reason == Reason.cancelled.name { throw error }
      return number
    }
  }

  /// No more will be sent: the results end after the last record's.
  public func finish() { state.finish() }

  public struct AsyncIterator: AsyncIteratorProtocol {
    public typealias Element = PublishResult
    public typealias Failure = Never
    let state: SinkState
    /// The next result; nil after `finish` and the last one, or when the task is cancelled.
    public mutating func next() async -> PublishResult? { await state.next() }
    public mutating func next(isolation actor: isolated (any Actor)?) async -> PublishResult? {
      await state.next()
    }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(state: state) }
}

extension ProducerTopic {
  /// A sink with results in order; see `PublishSink`.
  /// - Parameter limit: results that may wait to be read; then `send` suspends.
  public func sink(limit: Int = 10_000) -> PublishSink { PublishSink(self, limit: limit) }

  /// Publishes a stream of records and hands each one's result to `onResult`, in order, while it goes on.
  ///
  /// Structured: it returns when every record has its result. It ends early when `records` or `onResult` throws
  /// or the task is cancelled; what was handed over by then goes on its way.
  public nonisolated(nonsending) func publish<Records: AsyncSequence & Sendable>(
    _ records: Records, limit: Int = 10_000,
    onResult: nonisolated(nonsending) (PublishResult) async throws -> Void
  ) async throws where Records.Element == ProducerRecord {
    let sink = sink(limit: limit)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        defer { sink.finish() }
        for try await record in records { try await sink.send(record) }
      }
      for await result in sink { try await onResult(result) }
      try await group.waitForAll()
    }
  }

  /// Publishes records, many at a time, and waits for all of them.
  /// - Returns: one result for each, in order.
  /// - Throws: CANCELLED only.
  public func send(
    contentsOf records: some Sequence<ProducerRecord>
  ) async throws(SkeinError) -> [PublishResult] {
    let sink = sink(limit: .max)
    for record in records { try await sink.send(record) }
    sink.finish()
    var results: [PublishResult] = []
    for await result in sink { results.append(result) }
    guard !Task.isCancelled else { throw SkeinError(wrapping: CancellationError()) }
    return results
  }
}
