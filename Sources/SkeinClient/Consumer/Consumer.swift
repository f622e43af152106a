import NIOCore
import RecordFormat
import SkeinCore
import Synchronization
import Wire

/// A member of a consumer group: the broker gives it partitions of the group's topics, and their records come from where
/// the group stands.
///
/// ```swift
/// let consumer = try await client.consumer(group: "billing", topics: ["orders"])
/// for try await record in consumer { … }
/// ```
/// **What counts as processed.** A record (a batch, of `batches`) when the loop asks for the next one; in `run`, when
/// the handler has returned; with `ConsumerConfiguration.acknowledges`, when the application says so. Automatic commits (`ConsumerConfiguration.commitInterval`) cover what is processed and
/// nothing else, so a crash repeats records and loses none. A loop that is left leaves the record at hand unprocessed: it
/// comes again, here in the next loop, or elsewhere.
///
/// **Its partitions.** They come and go while records flow (`ConsumerConfiguration.rebalance`); those that stay are not
/// interrupted. A member that hangs is removed after `processingDeadline`, one that cannot reach the broker stops by
/// itself after the group's session time. What it did since its last commit is then done again by somebody else: effects
/// outside Skein are at least once.
///
/// **Failures.** A lost connection or a restarted broker is borne without a gap or a repeat. OFFSET_OUT_OF_RANGE,
/// NO_COMMITTED_OFFSET, LOG_TRUNCATED, DATA_CORRUPT stop one partition until a `seek`; BATCH_UNDECODABLE concerns one
/// batch: the sequence throws them, and iterating again goes on with the rest. What lasts ends it, and every loop throws
/// it: a refusal of access, or no broker for `ClientConfiguration.unreachableTimeout`.
///
/// Leaves its group when it is closed, when the task that iterates is cancelled, and when it is dropped. Several loops may
/// take from it at a time; each has a partition for itself. Any thread.
public final class Consumer: AsyncSequence, Sendable {
  public typealias Element = ConsumedRecord
  public typealias Failure = any Error

  public let group: String
  let core: ConsumerCore
  let scratch = DecodeScratch()
  private let configuration: ConsumerConfiguration
  let admin: Admin
  private let received = Mutex<[String: ReceivedMetrics]>([:])

  init(group: String, core: ConsumerCore, admin: Admin, _ configuration: ConsumerConfiguration) {
    self.group = group
    self.core = core
    self.admin = admin
    self.configuration = configuration
  }

  deinit {
    let isStatic = configuration.instanceID != nil
    core.apply { $0.close(temporarily: isStatic, now: $1) }
  }

  /// Names the process in all its joins (G22 counts by it).
  private static let processID = ConsumerMachine.newID(SystemRandom())

  static func open(
    _ client: Client, group: String, topics: [String], patterns: [String],
    _ configuration: ConsumerConfiguration
  ) async throws(SkeinError) -> Consumer {
    let configuration = try configuration.validated(group: group, topics: topics, patterns: patterns)
    let metrics = GroupMetrics(group: group)
    let core = ConsumerCore(
      machine: ConsumerMachine(
        options: options(group, configuration, client.configuration), topics: topics, patterns: patterns,
        random: SystemRandom()),
      configuration: configuration, metrics: metrics)
    let stream = ConsumerStream(core: core)
    let patience = client.configuration.unreachableTimeout.nanosecondsClamped
    let supervision = StreamSupervisor(
      connector: client.connector, path: ConsumerMethod.subscribe,
      // Who was taken once, and then was quarantined (G22), waits for its end; at the start, the caller hears of it.
      patience: { stream.isQuarantined && core.wasOpened ? nil : patience },
      reconnects: { metrics.reconnected() })
    let loop = client.connector.group.next()
    _ = client.supervisors.start {
      let tickers = tick(core, metrics, configuration, on: loop)
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await makeCalls(core, configuration.rebalance) }
        group.addTask {
          await withTaskGroup(of: Void.self) { group in
            group.addTask { await supervision.run(stream) }
            // Who is closed does not wait for a broker that cannot be reached.
            group.addTask { await core.closed() }
            await group.next()
            group.cancelAll()
            // The client was closed: whoever waits for records hears of it.
            core.fail(SkeinError(.cancelled, "the consumer's client is closed", outcome: .definite))
          }
        }
      }
      for ticker in tickers { ticker.cancel() }
    }
    try await core.opened()
    return Consumer(group: group, core: core, admin: client.admin, configuration)
  }

  private static func options(
    _ group: String, _ configuration: ConsumerConfiguration, _ client: ClientConfiguration
  ) -> ConsumerMachine.Options {
    var options = ConsumerMachine.Options(group: group)
    options.instanceID = configuration.instanceID ?? ""
    options.processID = processID
    options.clientID = configuration.clientID
    options.labels = configuration.labels
    options.assignor = configuration.assignor ?? ""
    options.processingMilliseconds = configuration.processingDeadline.nanosecondsClamped / 1_000_000
    options.start = configuration.start
    options.outOfRange = configuration.outOfRange
    options.maxMessageBytes = configuration.maxMessageBytes
    options.window = .init(
      records: Int64(configuration.bufferRecords), bytes: Int64(configuration.bufferBytes))
    options.acknowledges = configuration.acknowledges
    options.commitInterval = configuration.commitInterval?.nanosecondsClamped
    options.commitPatience = client.requestTimeout.nanosecondsClamped
    options.closeTimeout = configuration.closeTimeout.nanosecondsClamped
    options.callsAssigned = configuration.rebalance.assigned != nil
    options.callsRevoked = configuration.rebalance.revoked != nil
    options.callsLost = configuration.rebalance.lost != nil
    return options
  }

  /// The consumer's own clock: heartbeats, commits and deadlines go on whatever the application's tasks do.
  private static func tick(
    _ core: ConsumerCore, _ metrics: GroupMetrics, _ configuration: ConsumerConfiguration,
    on loop: any EventLoop
  ) -> [RepeatedTask] {
    let interval = configuration.commitInterval?.nanosecondsClamped ?? .max
    let period = TimeAmount.nanoseconds(Swift.min(50_000_000, interval))
    return [
      loop.scheduleRepeatedTask(initialDelay: period, delay: period) { _ in core.apply { $0.tick(now: $1) } },
      loop.scheduleRepeatedTask(initialDelay: .seconds(5), delay: .seconds(5)) { _ in
        let (count, lag) = core.look { ($0.index.count, Array($0.lag.values)) }
        metrics.has(count, lag: lag)
      },
    ]
  }

  private static func makeCalls(_ core: ConsumerCore, _ handlers: RebalanceHandlers) async {
    while let call = await core.nextCall() {
      switch call {
      case .assigned(let partitions, _): await handlers.assigned?(partitions)
      case .revoked(let partitions, _): await handlers.revoked?(partitions)
      case .lost(let partitions): await handlers.lost?(partitions)
      }
      core.apply { $0.called(call, now: $1) }
    }
  }

  var acknowledges: Bool { configuration.acknowledges }

  func metrics(_ topic: String) -> ReceivedMetrics {
    received.withLock { metrics in
      if let known = metrics[topic] { return known }
      let new = ReceivedMetrics(topic: topic)
      metrics[topic] = new
      return new
    }
  }

  // MARK: Iterating

  public struct AsyncIterator: AsyncIteratorProtocol {
    let cursor: LoopCursor
    public mutating func next() async throws -> ConsumedRecord? { try await cursor.record() }
  }

  /// The records, copied out of their batches. Ends when the consumer is closed; when the task is cancelled, after it
  /// has left its group.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(cursor: LoopCursor(self, isLoop: true)) }

  /// Whole batches, whose records are decoded in place: the fast way. A batch counts as processed as a whole.
  public var batches: Batches { Batches(consumer: self) }

  public struct Batches: AsyncSequence, Sendable {
    public typealias Element = RecordBatch
    let consumer: Consumer

    public struct AsyncIterator: AsyncIteratorProtocol {
      let cursor: LoopCursor
      public mutating func next() async throws -> RecordBatch? { try await cursor.batch() }
    }

    public func makeAsyncIterator() -> AsyncIterator {
      AsyncIterator(cursor: LoopCursor(consumer, isLoop: true))
    }
  }

  // MARK: Ending

  /// Takes no more, waits for handlers, calls `revoked`, commits what is processed, and leaves; then the partitions are
  /// somebody else's at once. At most `closeTimeout`; an end that was cut short costs repeated records, never lost ones.
  /// Every loop ends. Not to be called from a rebalance handler or a handler of `run`.
  /// - Parameter comesBack: its partitions wait for a member of its name for the session time; nil: if it has an
  ///   `instanceID`.
  public func close(comesBack: Bool? = nil) async {
    let isTemporary = comesBack ?? (configuration.instanceID != nil)
    core.apply { $0.close(temporarily: isTemporary, now: $1) }
    await core.closed()
  }
}
