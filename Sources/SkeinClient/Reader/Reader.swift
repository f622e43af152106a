import RecordFormat
import SkeinCore
import Wire

/// Reads partitions in order, without a group: a bounded asynchronous sequence of record batches.
///
/// ```swift
/// for try await batch in reader {
///   try batch.forEachRecord { record in … }    // the fast way
/// }
/// for try await record in reader.records { … } // the comfortable one
/// ```
/// Memory is bounded by `ReaderConfiguration`: the broker sends only what was granted, and credit is
/// granted as batches are taken. After a lost connection it goes on at the next offset.
///
/// Errors are typed: OFFSET_OUT_OF_RANGE, LOG_TRUNCATED, DATA_CORRUPT end one partition,
/// BATCH_UNDECODABLE passes over one message; iterating again goes on with the rest. After a lasting
/// failure, or `close`, the sequence ends. One consumer at a time; any thread.
public final class Reader: AsyncSequence, Sendable {
  public typealias Element = RecordBatch
  public typealias Failure = any Error

  /// What one stream of the broker takes.
  public static let maxPartitions = 1000

  public let topic: String
  private let core: ReaderCore
  private let stream: ReaderStream
  private let supervisor: Task<Void, Never>
  private let admin: Admin
  private let metrics: ReceivedMetrics
  private let scratch = DecodeScratch()

  private init(
    topic: String, core: ReaderCore, stream: ReaderStream, supervisor: Task<Void, Never>, admin: Admin,
    metrics: ReceivedMetrics
  ) {
    self.topic = topic
    self.core = core
    self.stream = stream
    self.supervisor = supervisor
    self.admin = admin
    self.metrics = metrics
  }

  deinit {
    core.close(nil)
    supervisor.cancel()
  }

  static func open(
    _ client: Client, topic: String, partitions: [Int32]?, from start: ReadStart,
    _ configuration: ReaderConfiguration
  ) async throws(SkeinError) -> Reader {
    let configuration = try configuration.validated()
    let admin = client.admin
    let plan = { () async throws(SkeinError) in
      try await ReadPlan.slots(
        admin, topic: topic, partitions: partitions, from: start, stopsAtEnd: configuration.stopsAtEnd)
    }
    let slots = client.configuration.waitsForReady ? try await admin.patiently(plan) : try await plan()
    let machine = ReaderMachine(
      slots: slots,
      window: .init(
        records: Int64(configuration.bufferRecords), bytes: Int64(configuration.bufferBytes)))
    let core = ReaderCore(machine: machine)
    let stream = ReaderStream(core: core, maxMessageBytes: configuration.maxMessageBytes)
    let patience = client.configuration.unreachableTimeout.nanosecondsClamped
    let metrics = ReceivedMetrics(topic: topic)
    let supervision = StreamSupervisor(
      connector: client.connector, path: ConsumerMethod.read, patience: { patience },
      reconnects: { metrics.reconnected() })
    // Who reads "all" wants those that are added, too; who reads to the end of now does not.
    let watches = partitions == nil && !configuration.stopsAtEnd && configuration.partitionRefresh > .zero
    let period = configuration.partitionRefresh
    let supervisor = client.supervisors.start {
      await withTaskGroup(of: Void.self) { group in
        if watches {
          group.addTask {
            while !Task.isCancelled {
              try? await Task.sleep(for: period)
              if let summary = try? await admin.topicSummary(topic) { core.grow(to: summary.partitionCount) }
            }
          }
        }
        await supervision.run(stream)
        group.cancelAll()
      }
      // The client was closed: whoever waits for a batch hears of it.
      core.close(SkeinError(.cancelled, "the reader's client is closed", outcome: .definite))
    }
    return Reader(
      topic: topic, core: core, stream: stream, supervisor: supervisor, admin: client.admin, metrics: metrics)
  }

  /// The next batch, CRC-checked; nil at the end.
  public func nextBatch() async throws(SkeinError) -> RecordBatch? {
    while true {
      switch core.take() {
      case .batch(let bytes, let header, let chunk):
        if header.isControl { continue }
        return try chunk.checked(bytes, header, scratch, metrics)
      case .failure(let error): throw error
      case .end: return nil
      case .nothingYet:
        await core.wait()
        if Task.isCancelled { throw SkeinError(wrapping: CancellationError()) }
      }
    }
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let reader: Reader
    public mutating func next() async throws -> RecordBatch? { try await reader.nextBatch() }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(reader: self) }

  /// The records one by one, copied out of their batches.
  public var records: Records { Records(reader: self) }

  /// A reader's records; breaking off loses what is left of the batch at hand.
  public struct Records: AsyncSequence, Sendable {
    public typealias Element = ConsumedRecord
    let reader: Reader

    public struct AsyncIterator: AsyncIteratorProtocol {
      let reader: Reader
      private var batch: [ConsumedRecord] = []
      private var at = 0

      init(reader: Reader) { self.reader = reader }

      public mutating func next() async throws -> ConsumedRecord? {
        while at == batch.count {
          guard let next = try await reader.nextBatch() else { return nil }
          batch = try next.records()
          at = 0
        }
        defer { at += 1 }
        return batch[at]
      }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(reader: reader) }
  }

  // MARK: Steering

  /// Where reading goes on in each partition: after the last batch that was taken. Keep them to go on later
  /// (`ReadStart.positions`). With `records`, which takes a batch at a time, this is the end of the batch at hand:
  /// keep `offset + 1` of the record that you finished instead.
  public var positions: [Int32: ReadPosition] { core.taken }

  /// Nothing more comes of these partitions until `resume`; what was received and not taken is dropped and comes
  /// again then. Costs a new stream; meant for seconds and more, not for each record (a reader that is not
  /// iterated stops the broker by itself).
  /// - Parameter partitions: nil is all.
  /// - Throws: PARTITION_NOT_FOUND for one that this reader does not read; nothing was changed.
  public func pause(_ partitions: [Int32]? = nil) throws(SkeinError) { try core.pause(partitions) }

  /// Goes on after the last batch that was taken.
  /// - Throws: as `pause`.
  public func resume(_ partitions: [Int32]? = nil) throws(SkeinError) { try core.resume(partitions) }

  /// Goes on elsewhere, while the reader runs; what was received and not taken of these partitions is dropped.
  /// With `records`, what is left of the batch at hand still comes.
  /// - Throws: as `pause`. An offset outside the log ends the partition with OFFSET_OUT_OF_RANGE when it is read.
  public func seek(_ positions: [Int32: ReadPosition]) throws(SkeinError) { try core.seek(positions) }

  /// Goes on elsewhere; the broker is asked where that is.
  /// - Parameter partitions: nil is all that this reader reads.
  /// - Throws: as `pause`; INVALID_REQUEST when an offset is missing; or why the broker could not be asked.
  public func seek(to start: ReadStart, partitions: [Int32]? = nil) async throws(SkeinError) {
    let chosen = partitions ?? core.taken.keys.sorted()
    try core.seek(try await ReadPlan.positions(admin, topic: topic, partitions: chosen, from: start))
  }

  /// Ends the stream. Batches already received can still be taken; then the sequence ends.
  public func close() async {
    stream.close()
    await supervisor.value
  }
}
