import CommitLog
import GroupCoordination
import Logging
import NIOCore
import NIOPosix
import SkeinCore
import Synchronization

/// All group coordinators of this broker, one for each partition of `__groups`: each lives on the event loop of its
/// partition's shard and appends there. Threading: any thread.
///
/// Life: `init`, `open` once the topics are served, `stop` before the log is closed.
final class GroupDirectory: Sendable {
  static let topicName = "__groups"
  /// How long a start waits for the coordinators, in seconds; those of larger logs go on reading while the broker serves
  /// (COORDINATOR_LOADING).
  static let startPatience = TimeAmount.seconds(5)
  /// Milliseconds between two rounds of expiry and upkeep.
  static let upkeepMilliseconds = 60_000

  private let hosts = Mutex<[CoordinatorHost]>([])
  private let nextSession = Atomic<UInt64>(1)
  private let configuration: GroupConfiguration
  private let time: any TimeSource
  private let logger: Logger
  private let registry: TopicRegistry
  let topics: GroupTopicResolver
  /// When records behind groups were appended, where that had to be read.
  let appendTimes = AppendTimes()

  init(
    configuration: GroupConfiguration, registry: TopicRegistry, time: any TimeSource, logger: Logger
  ) {
    self.configuration = configuration
    self.registry = registry
    self.time = time
    self.logger = logger
    topics = GroupTopicResolver(registry: registry, time: time, logger: logger)
  }

  var limits: GroupLimits { configuration.limits }
  var times: GroupTimes { configuration.times }

  // MARK: Life

  /// Finds the topic, or makes it at the first start; then reads its partitions. Returns when all are read, or
  /// `startPatience` has passed.
  func open(_ context: BrokerContext) async throws {
    let topic = try await findTopic(context)
    let seams = CoordinatorHost.Seams(
      configuration: configuration, time: time, logger: logger,
      resolve: { [topics] in topics.want($1, of: $0) },
      existingTopics: { [registry] in Set(registry.all.map(\.id)) })
    let made = (0..<topic.partitions).map { partition in
      let key = TopicPartition(topic: topic.id, partition: partition)
      return CoordinatorHost(key: key, shard: context.partitions.shard(of: key), seams: seams)
    }
    hosts.withLock { $0 = made }
    topics.tell { [weak self] key, resolved in
      self?.send(.topicsResolved(key, resolved), to: key)
    }
    registry.watch { [weak self] topic, isDeleted in
      self?.topics.changed(topic)
      if isDeleted { self?.sendAll(.topicDeleted(topic.id)) }
    }
    guard let loop = made.first?.loop else { return }
    for host in made { host.loop.execute { host.load() } }
    let ready = loop.makePromise(of: Void.self)
    let patience = loop.scheduleTask(in: Self.startPatience) { ready.succeed() }
    EventLoopFuture.andAllComplete(made.map(\.firstLoad.futureResult), on: loop).whenComplete { _ in
      patience.cancel()
      ready.succeed()
    }
    try await ready.futureResult.get()
  }

  /// The number of partitions is fixed when the cluster is created: it decides who coordinates which group.
  private func findTopic(_ context: BrokerContext) async throws -> Topic {
    if let known = try? registry.topic(Self.topicName, of: .system) { return known }
    let explicit = [
      "cleanup.policy": "compact", "retention.ms": "-1", "retention.bytes": "-1", "segment.bytes": "16777216",
      "durability": "sync",
    ]
    var violations: [Fault.FieldViolation] = []
    let settings = TopicSettings(explicit: explicit, violations: &violations)
    guard violations.isEmpty else {
      throw Fault(.internalError, "the settings of \(Self.topicName) are wrong", violations: violations)
    }
    let topic = try await registry.create(
      Self.topicName, tenant: .system,
      first: TopicGeneration(
        1, TopicBinding(.murmur2), partitions: GroupLimits.logPartitions, since: time.wallMilliseconds),
      settings: settings, explicit: explicit)
    try await context.open(topic)
    registry.publish(topic)
    return topic
  }

  /// Nothing is appended after this returns.
  func stop() async {
    topics.stop()
    for host in hosts.withLock({ $0 }) {
      try? await host.loop.submit { host.close() }.get()
    }
  }

  /// Resolves subscriptions, until `stop`.
  func run() async { await topics.run() }

  /// Removes expired offsets, forgets subscriptions of groups that are gone, tries again what could not be read.
  /// While the wall clock is in doubt nothing expires (R60).
  func upkeep(_ workers: LogWorkers) async {
    let directory = workers.directory
    let condition = try? await workers.readPool.runIfActive { directory.condition() }
    let isClockInDoubt = condition?.isRetentionPaused ?? true
    for host in hosts.withLock({ $0 }) {
      host.loop.execute { [topics] in
        host.retry()
        if !isClockInDoubt { host.enqueue(.expireOffsets) }
        topics.keep(host.liveGroups, ofPartition: host.key.partition)
      }
    }
  }

  // MARK: Requests

  /// Asks the coordinator of a group; `answer` runs on `loop`, once.
  func ask(
    _ request: GroupRequest, of key: GroupKey, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<GroupReply, Fault>) -> Void
  ) {
    guard let host = host(of: key) else {
      return loop.execute { answer(.failure(Self.starting)) }
    }
    ask(host, request, GroupAnswer(loop: loop, receive: answer))
  }

  func ask(_ request: GroupRequest, of key: GroupKey) async throws(Fault) -> GroupReply {
    guard let host = host(of: key) else { throw Self.starting }
    return try await ask(host, request)
  }

  /// Asks all coordinators: one result a partition of `__groups`.
  func askAll(_ request: GroupRequest) async -> [Result<GroupReply, Fault>] {
    let hosts = hosts.withLock { $0 }
    guard !hosts.isEmpty else { return [.failure(Self.starting)] }
    return await withTaskGroup { group in
      for host in hosts {
        group.addTask { () async -> Result<GroupReply, Fault> in
          do throws(Fault) { return .success(try await self.ask(host, request)) } catch {
            return .failure(error)
          }
        }
      }
      var results: [Result<GroupReply, Fault>] = []
      for await result in group { results.append(result) }
      return results
    }
  }

  private func ask(_ host: CoordinatorHost, _ request: GroupRequest) async throws(Fault) -> GroupReply {
    let result = await withCheckedContinuation { continuation in
      ask(host, request, GroupAnswer(loop: host.loop, receive: { continuation.resume(returning: $0) }))
    }
    return try result.get()
  }

  private func ask(_ host: CoordinatorHost, _ request: GroupRequest, _ answer: GroupAnswer) {
    onLoop(of: host) { $0.ask(request, answer) }
  }

  // MARK: Streams

  /// A new stream of a member; before its join or first heartbeat. Messages to the member come to `sink`.
  func attach(_ sink: any MemberSink, to key: GroupKey) -> SessionID {
    let session = SessionID(nextSession.wrappingAdd(1, ordering: .relaxed).oldValue)
    guard let host = host(of: key) else { return session }
    onLoop(of: host) { $0.attach(sink, session) }
    return session
  }

  /// The stream is there no more: once, and nothing of that session after it.
  func lost(_ session: SessionID, of key: GroupKey) {
    guard let host = host(of: key) else { return }
    onLoop(of: host) { $0.lost(session) }
  }

  /// The stream was heard, without a message for the coordinator.
  func alive(_ session: SessionID, of key: GroupKey) {
    guard let host = host(of: key) else { return }
    onLoop(of: host) { $0.alive(session) }
  }

  // MARK: Events

  private func send(_ event: GroupEvent, to key: GroupKey) {
    guard let host = host(of: key) else { return }
    onLoop(of: host) { $0.enqueue(event) }
  }

  private func sendAll(_ event: GroupEvent) {
    for host in hosts.withLock({ $0 }) { onLoop(of: host) { $0.enqueue(event) } }
  }

  // MARK: Facts

  /// Of every coordinator, for metrics and health.
  func facts() async -> [CoordinatorFacts] {
    var facts: [CoordinatorFacts] = []
    for host in hosts.withLock({ $0 }) {
      if let fact = try? await host.loop.submit({ host.facts }).get() { facts.append(fact) }
    }
    return facts
  }

  // MARK: Helpers

  var allHosts: [CoordinatorHost] { hosts.withLock { $0 } }

  private func host(of key: GroupKey) -> CoordinatorHost? {
    hosts.withLock { hosts in
      guard !hosts.isEmpty else { return nil }
      return hosts[Int(key.partition(of: Int32(hosts.count)))]
    }
  }

  private func onLoop(of host: CoordinatorHost, _ action: @escaping @Sendable (CoordinatorHost) -> Void) {
    if host.loop.inEventLoop { action(host) } else { host.loop.execute { action(host) } }
  }

  private static let starting = Fault(
    .coordinatorLoading, "the broker has not begun to read the log of its groups; try again in 100 ms",
    retryAfterMilliseconds: 100)
}
