import SkeinCore
import Synchronization
import Wire

/// Publishes records: batched, in order per partition, exactly once into the log within one producer's
/// life (idempotent, P1-P11), with bounded memory.
///
/// After a lost connection it resends what was unanswered with the same producer id, epoch and
/// sequences. It fails visibly, for good, when going on could duplicate, lose or reorder (P10);
/// then every later call throws that error: make a new producer, and decide what to do with the
/// records whose error says `outcome == .unknown`.
///
/// Any thread. Close it: records in its buffer are not sent by anybody else.
public final class Producer: Sendable {
  private let core: ProducerCore
  private let client: Client
  private let stream: ProducerStream
  private let supervisor: Task<Void, Never>
  private let topics = Mutex<[String: ProducerTopic]>([:])

  private init(
    core: ProducerCore, client: Client, stream: ProducerStream, supervisor: Task<Void, Never>
  ) {
    self.core = core
    self.client = client
    self.stream = stream
    self.supervisor = supervisor
  }

  deinit { supervisor.cancel() }

  static func open(
    _ client: Client, _ configuration: ProducerConfiguration
  ) async throws(SkeinError) -> Producer {
    let core = ProducerCore(
      configuration: try configuration.validated(), random: SystemRandom())
    let stream = ProducerStream(core: core, acknowledgement: configuration.acknowledgement)
    let supervision = StreamSupervisor(
      connector: client.connector, path: ProducerMethod.publishStream,
      // Before the first stream nothing else bounds the waiting; later the delivery deadline does.
      patience: { stream.wasOpened ? nil : client.configuration.unreachableTimeout.nanosecondsClamped })
    let admin = client.admin
    let supervisor = client.supervisors.start {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await supervision.run(stream) }
        group.addTask { await keepHouse(core) }
        group.addTask { await describe(core, admin) }
        await group.next()
        group.cancelAll()
      }
      // Whoever still waits (the producer was dropped without `close`) hears of it.
      core.fail(ProducerCore.closedError)
    }
    let producer = Producer(core: core, client: client, stream: stream, supervisor: supervisor)
    do throws(SkeinError) {
      try await stream.opened()
    } catch {
      supervisor.cancel()
      throw error
    }
    return producer
  }

  // MARK: Publishing

  /// The handle for a topic; described by the broker the first time, then known. Waits for a broker that restarts.
  ///
  /// Where the topic's partitioner is a plug-in, the broker is asked for the partitions of records, in batches
  /// ahead of their sending; all else is as with a built-in.
  /// - Throws: TOPIC_NOT_FOUND, or INVALID_REQUEST for a built-in partitioner that this SDK does not have.
  public func topic(_ name: String) async throws(SkeinError) -> ProducerTopic {
    if let known = topics.withLock({ $0[name] }) { return known }
    let admin = client.admin
    let description = try await admin.patiently { () async throws(SkeinError) in
      try await admin.topicSummary(name)
    }
    let partitioner = try Self.partitioner(description)
    return topics.withLock { topics in
      if let known = topics[name] { return known }
      let index = core.register(
        name, partitioner: partitioner, generation: description.generation,
        partitions: description.partitionCount, codec: description.codec)
      let topic = ProducerTopic(name: name, index: index, core: core)
      topics[name] = topic
      return topic
    }
  }

  /// The handle for a topic, with a compression of its own instead of the producer's.
  /// - Throws: as `topic(_:)`; INVALID_REQUEST for a codec that this SDK does not write.
  public func topic(_ name: String, compression: Codec) async throws(SkeinError) -> ProducerTopic {
    try await topic(name).compressed(with: compression)
  }

  /// Asks the broker what the topic is now: more partitions, another partitioner. The producer does so by
  /// itself when a record is refused; call it to use partitions that were just added.
  /// - Throws: TOPIC_NOT_FOUND, or why the broker could not be asked.
  public func refresh(_ topic: ProducerTopic) async throws(SkeinError) {
    let description = try await client.admin.topicSummary(topic.name)
    core.refresh(topic.index, try TopicChange(description))
  }

  /// Publishes one record and waits for its acknowledgement; see `ProducerTopic.send`.
  @discardableResult
  public func send(
    to topic: String, key: [UInt8]? = nil, value: [UInt8]?, headers: RecordHeaders? = nil,
    timestamp: Int64? = nil, partition: Int32? = nil
  ) async throws(SkeinError) -> RecordMetadata {
    try await self.topic(topic).send(
      key: key, value: value, headers: headers, timestamp: timestamp, partition: partition)
  }

  /// Sends everything taken so far without waiting for `linger`, and waits for all of it.
  /// - Throws: the first failure, since the last flush, of a record that nobody waited for.
  public func flush() async throws(SkeinError) {
    if let error = await core.flush() { throw error }
  }

  /// Flushes, takes no more, ends the stream. Call it once, when all sending is over.
  /// - Throws: as `flush`; the producer is closed all the same.
  public func close() async throws(SkeinError) {
    let error = await core.flush()
    core.close()
    stream.close()
    await supervisor.value
    if let error { throw error }
  }

  // MARK: Housekeeping

  static func partitioner(_ topic: TopicSummary) throws(SkeinError) -> TopicPartitioner {
    if topic.brokerAssigns {
      return .asked(
        AssignmentShape(headers: topic.partitionerHeaders, timestamps: topic.partitionerTimestamps))
    }
    // A version may follow the name: "murmur2@1".
    let name = topic.partitioner.prefix { $0 != "@" }
    guard let known = BuiltInPartitioner(rawValue: String(name)) else {
      throw SkeinError(
        .invalidRequest,
        "topic \(topic.name) is partitioned by \"\(topic.partitioner)\", which this SDK does not have; give partitions explicitly or use Publish",
        metadata: ["topic": topic.name, "partitioner": topic.partitioner])
    }
    return .builtIn(known)
  }

  /// Back-offs and delivery deadlines.
  private static func keepHouse(_ core: ProducerCore) async {
    while !Task.isCancelled {
      let pause: UInt64 = core.hasOutstanding ? 25_000_000 : 200_000_000
      try? await Task.sleep(nanoseconds: pause)
      core.tick()
    }
  }

  /// Topics that the broker says have changed. A topic that is still as it was is asked about again after a pause.
  private static func describe(_ core: ProducerCore, _ admin: Admin) async {
    while !Task.isCancelled {
      await core.waitForStaleTopics()
      for (index, name) in core.takeStaleTopics() {
        do throws(SkeinError) {
          core.refresh(index, try TopicChange(try await admin.topicSummary(name)))
        } catch {
          // A partitioner that we do not have is as final as a topic that is gone.
          core.refreshFailed(index, isGone: !error.isRetriable && error.outcome == .definite)
        }
      }
      try? await Task.sleep(nanoseconds: 10_000_000)
    }
  }
}

extension TopicChange {
  init(_ topic: TopicSummary) throws(SkeinError) {
    self.init(
      partitioner: try Producer.partitioner(topic), generation: topic.generation,
      partitions: topic.partitionCount)
  }
}
