import Logging
import PluginPackage
import SkeinCore
import Synchronization

/// The plug-ins that place records, by topic and generation, and who is changing which topic's partitioner.
/// Threading: any thread.
final class Partitioning: Sendable {
  let source: any PartitionerSource
  private let time: any TimeSource
  private let logger: Logger

  private struct State {
    /// Of topics whose partitioner is a plug-in.
    var placers: [TopicID: [UInt32: TopicPlacer]] = [:]
    /// Of the generation before one that is watched: warm, so that a rollback takes no longer than a swap.
    var previous: [TopicID: TopicPlacer] = [:]
    var claims: [TopicID: SwapClaim] = [:]
    /// Waits that a stop must end: fences for the disk, drains for plug-ins.
    var waits: [ObjectIdentifier: Wait] = [:]
    var isStopping = false
  }
  private enum Wait: Sendable {
    case fence(FenceTicket)
    case drain(TopicPlacer)
  }
  private let state = Mutex(State())
  let counts = SwapCounts()

  init(source: any PartitionerSource, time: any TimeSource, logger: Logger) {
    self.source = source
    self.time = time
    self.logger = logger
  }

  // MARK: Placers

  /// Of the topic as this snapshot has it; nil for a built-in, and for a generation that was replaced.
  func placer(of topic: Topic) -> TopicPlacer? {
    state.withLock { $0.placers[topic.id]?[topic.generation] }
  }

  /// All, for metrics and status.
  var placers: [TopicPlacer] { state.withLock { $0.placers.values.flatMap(\.values) } }

  /// Makes the generation in force of a committed topic ready, before it is published.
  func install(_ topic: Topic, _ loaded: Result<LoadedPartitioner, Fault>) {
    let placer = TopicPlacer(topic, loaded, time: time, logger: logger)
    state.withLock { $0.placers[topic.id, default: [:]][topic.generation] = placer }
  }

  /// For a generation that has the plug-in of the one before (more partitions).
  func inherit(_ topic: Topic, from old: Topic) {
    guard topic.builtIn == nil else { return }
    let loaded =
      placer(of: old)?.loaded
      ?? .failure(
        Fault(.partitionerUnavailable, "the partitioner of generation \(old.generation) is not loaded"))
    install(topic, loaded)
  }

  /// The topic is published: earlier generations are dropped, and end with their last call.
  /// - Returns: the one before.
  @discardableResult
  func retire(before topic: Topic) -> TopicPlacer? {
    state.withLock { state in
      let old = state.placers[topic.id]?.filter { $0.key < topic.generation } ?? [:]
      for number in old.keys { state.placers[topic.id]?[number] = nil }
      if state.placers[topic.id]?.isEmpty == true { state.placers[topic.id] = nil }
      return old.max { $0.key < $1.key }?.value
    }
  }

  /// Of the generation before, while the one in force is watched.
  func warm(_ topic: TopicID) -> TopicPlacer? { state.withLock { $0.previous[topic] } }
  func keepWarm(_ placer: TopicPlacer?, of topic: TopicID) { state.withLock { $0.previous[topic] = placer } }
  func cool(_ topic: TopicID) { state.withLock { $0.previous[topic] = nil } }

  func forget(_ topic: TopicID) {
    state.withLock { state in
      state.placers[topic] = nil
      state.previous[topic] = nil
    }
  }

  /// Tries those again that could not be loaded: enabled, released or repaired meanwhile.
  func recover() async {
    for placer in placers where placer.problem != nil {
      do throws(Fault) {
        placer.recover(try await load(placer.generation.binding, usedBy: placer.name))
        logger.notice(
          "partitioner loaded",
          metadata: ["topic": "\(placer.name)", "plugin": "\(placer.generation.binding.partitioner)"])
      } catch {
        continue
      }
    }
  }

  func load(_ binding: TopicBinding, usedBy name: String) async throws(Fault) -> LoadedPartitioner {
    try await source.load(
      binding.partitioner, config: binding.config.isEmpty ? "{}" : binding.config, usedBy: name)
  }

  /// Which topics use a plug-in now: in force, or kept for a rollback.
  func uses(of reference: PluginReference, _ registry: TopicRegistry) -> [String] {
    let name = reference.description
    let warm = state.withLock { $0.previous.values.filter { $0.generation.binding.partitioner == name } }
    let inForce = registry.all.filter { $0.builtIn == nil && $0.current.binding.partitioner == name }
    return Set(inForce.map(\.name) + warm.map(\.name)).sorted().map { "topic \($0)" }
  }

  // MARK: One change of a topic at a time

  /// - Parameter isRollback: may begin while a swap is watched, and ends the watch with its commit.
  /// - Throws: `SWAP_IN_PROGRESS`.
  func claim(_ topic: Topic, isRollback: Bool) throws(Fault) -> SwapClaim {
    let (claim, holder) = state.withLock { state -> (SwapClaim?, SwapClaim?) in
      let holder = state.claims[topic.id]
      if let holder, !(isRollback && holder.isWatching) { return (nil, holder) }
      let claim = SwapClaim(topic.id, previous: holder)
      state.claims[topic.id] = claim
      return (claim, nil)
    }
    if let claim { return claim }
    let isWatching = holder?.isWatching == true
    let advice =
      isWatching
      ? "its new partitioner is still watched; wait for the end, or roll it back" : "wait until it is through"
    throw Fault(
      .swapInProgress, "topic \"\(topic.name)\" is getting another partitioner right now: \(advice)",
      metadata: ["topic": topic.name, "phase": isWatching ? "watch" : "swap"], retryAfterMilliseconds: 1_000)
  }

  func release(_ claim: SwapClaim) {
    claim.end()
    state.withLock { state in
      guard state.claims[claim.topic] === claim else { return }
      // A rollback that failed leaves the watch as it was.
      state.claims[claim.topic] = claim.previous.flatMap { $0.isWatching ? $0 : nil }
    }
  }

  var swapsInProgress: Int { state.withLock { $0.claims.count } }

  // MARK: Stopping

  /// Fences and drains end at once, watches without a verdict: the next start goes on with what was committed.
  func stop() {
    let waits = state.withLock { state in
      state.isStopping = true
      return Array(state.waits.values)
    }
    for wait in waits { Self.end(wait) }
  }

  private static func end(_ wait: Wait) {
    switch wait {
    case .fence(let ticket):
      ticket.fail(Fault(.draining, "the broker is stopping; the partitioner was not changed"))
    case .drain(let placer): placer.endDraining()
    }
  }

  /// Runs `body` while `stop` may end what it waits for.
  func fencing<R: Sendable>(_ ticket: FenceTicket, _ body: () async throws -> R) async throws -> R {
    try await waiting(.fence(ticket), ObjectIdentifier(ticket), body)
  }

  /// Returns when no call of this one is open.
  func drain(_ placer: TopicPlacer) async {
    try? await waiting(.drain(placer), ObjectIdentifier(placer)) { await placer.drained() }
  }

  private func waiting<R: Sendable>(
    _ wait: Wait, _ id: ObjectIdentifier, _ body: () async throws -> R
  ) async throws -> R {
    let isStopping = state.withLock { state in
      state.waits[id] = wait
      return state.isStopping
    }
    if isStopping { Self.end(wait) }
    defer { state.withLock { $0.waits[id] = nil } }
    return try await body()
  }

  var isStopping: Bool { state.withLock { $0.isStopping } }
}

/// The right to change one topic's partitioner. Threading: any thread.
final class SwapClaim: Sendable {
  private enum Phase: Int { case changing, watching, superseded, ended }
  let topic: TopicID
  /// The watch that a rollback is to end.
  let previous: SwapClaim?
  private let phase = Atomic<Int>(Phase.changing.rawValue)

  init(_ topic: TopicID, previous: SwapClaim?) {
    self.topic = topic
    self.previous = previous
  }

  var isWatching: Bool { phase.load(ordering: .acquiring) == Phase.watching.rawValue }
  var isSuperseded: Bool { phase.load(ordering: .acquiring) == Phase.superseded.rawValue }

  func beginWatch() { phase.store(Phase.watching.rawValue, ordering: .releasing) }
  func end() { phase.store(Phase.ended.rawValue, ordering: .releasing) }

  /// The watch has found something and goes back: false when somebody else was quicker.
  func endWatch() -> Bool { move(to: .changing) }

  /// Another generation was committed: the watch is over.
  func supersede() { _ = move(to: .superseded) }

  private func move(to next: Phase) -> Bool {
    phase.compareExchange(
      expected: Phase.watching.rawValue, desired: next.rawValue, ordering: .acquiringAndReleasing
    ).exchanged
  }
}

/// For /metrics.
final class SwapCounts: Sendable {
  /// Generations that were committed by Bind and Rollback.
  let committed = Counter()
  /// Watched to the end, and good.
  let done = Counter()
  /// Went back by themselves.
  let rolledBack = Counter()
  /// Ended before the commit.
  let failed = Counter()
  /// AssignRequests answered.
  let assigns = Counter()
}
