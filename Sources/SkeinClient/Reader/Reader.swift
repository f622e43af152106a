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

  private let core: ReaderCore
  private let stream: ReaderStream
  private let supervisor: Task<Void, Never>
  private let scratch = DecodeScratch()

  private init(core: ReaderCore, stream: ReaderStream, supervisor: Task<Void, Never>) {
    self.core = core
    self.stream = stream
    self.supervisor = supervisor
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
    let slots = try await ReadPlan.slots(
      client.admin, topic: topic, partitions: partitions, from: start,
      stopsAtEnd: configuration.stopsAtEnd)
    let machine = ReaderMachine(
      slots: slots,
      window: .init(
        records: Int64(configuration.bufferRecords), bytes: Int64(configuration.bufferBytes)))
    let core = ReaderCore(machine: machine)
    let stream = ReaderStream(core: core, maxMessageBytes: configuration.maxMessageBytes)
    let patience = client.configuration.unreachableTimeout.nanosecondsClamped
    let supervision = StreamSupervisor(
      connector: client.connector, path: ConsumerMethod.read, patience: { patience })
    let supervisor = client.supervisors.start { await supervision.run(stream) }
    return Reader(core: core, stream: stream, supervisor: supervisor)
  }

  /// The next batch, CRC-checked; nil at the end.
  public func nextBatch() async throws(SkeinError) -> RecordBatch? {
    while true {
      switch core.take() {
      case .batch(let bytes, let header, let chunk):
        if header.isControl { continue }
        do throws(BatchError) {
          _ = try bytes.withUnsafeBytes { (bytes) throws(BatchError) in try BatchCheck.stored(bytes) }
        } catch { throw ReaderCore.undecodable(chunk, error) }
        return RecordBatch(
          topic: chunk.topic, partition: chunk.partition, baseOffset: header.baseOffset,
          nextOffset: header.nextOffset, recordCount: Int(header.recordCount),
          leaderEpoch: header.leaderEpoch, highWatermark: chunk.highWatermark, bytes: bytes,
          visible: chunk.visible, scratch: scratch)
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

  /// Ends the stream. Batches already received can still be taken; then the sequence ends.
  public func close() async {
    stream.close()
    await supervisor.value
  }
}
