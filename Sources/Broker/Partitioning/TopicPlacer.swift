import Logging
import NIOCore
import PluginHost
import SkeinCore
import Synchronization

/// A plug-in that places the records of one generation of one topic: its instance, the fallback while it does
/// not answer, and what is counted of it.
///
/// Whoever places holds a reference, and so the instance; once the generation is replaced and the last call
/// has ended, nobody does, and the instance ends. Threading: any thread.
final class TopicPlacer: Sendable {
  let topic: TopicID
  let tenant: TenantName
  let name: String
  let generation: TopicGeneration
  private let time: any TimeSource
  private let logger: Logger
  private let state: Mutex<State>

  private struct State {
    var loaded: LoadedPartitioner?
    /// Why there is no instance.
    var problem: Fault?
    var openCalls = 0
    var idleWaiter: CheckedContinuation<Void, Never>?
    var isDrainingOver = false
    var counts = PlacerCounts()
    /// Monotonic nanoseconds of the last line in the log about it.
    var lastTold = Int64.min
    /// The log has heard of a failure and not of its end.
    var isTold = false
    /// Kept while the generation is watched.
    var watch: WatchWindow?
  }

  /// How often the log hears that a partitioner does not answer, or does again: nanoseconds.
  private static let quiet: Int64 = 10_000_000_000

  init(
    _ topic: Topic, _ loaded: Result<LoadedPartitioner, Fault>, time: any TimeSource, logger: Logger
  ) {
    self.topic = topic.id
    self.tenant = topic.tenant
    self.name = topic.name
    self.generation = topic.current
    self.time = time
    self.logger = logger
    var state = State()
    switch loaded {
    case .success(let loaded): state.loaded = loaded
    case .failure(let fault): state.problem = fault
    }
    if topic.current.watchedUntilMilliseconds > time.wallMilliseconds {
      state.watch = WatchWindow(topic.partitions)
    }
    self.state = Mutex(state)
  }

  /// What runs, for a generation that shares it.
  var loaded: Result<LoadedPartitioner, Fault> {
    state.withLock { state in
      if let loaded = state.loaded { return .success(loaded) }
      return .failure(state.problem ?? Fault(.partitionerUnavailable, "not loaded"))
    }
  }

  /// Puts in an instance that could not be made before.
  func recover(_ loaded: LoadedPartitioner) {
    state.withLock { state in
      state.loaded = loaded
      state.problem = nil
    }
  }

  var counts: PlacerCounts { state.withLock { $0.counts } }
  /// Why there is no instance; nil when there is.
  var problem: Fault? { state.withLock { $0.problem } }
  var watch: WatchWindow? { state.withLock { $0.watch } }
  func endWatch() { state.withLock { $0.watch = nil } }

  // MARK: Placing

  /// Places records; `answer` is called exactly once, on `loop`, perhaps before this returns. One partition per
  /// record, or -1 = any.
  /// - Errors in the answer: `PARTITIONER_UNAVAILABLE`, when the plug-in does not answer and the fallback is
  ///   `reject`.
  func place(
    _ columns: PlacementColumns, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[Int32], Fault>) -> Void
  ) {
    let instance = state.withLock { state -> Result<any PartitionerInstance, Fault> in
      guard let loaded = state.loaded else {
        return .failure(state.problem ?? Fault(.partitionerUnavailable, "not loaded"))
      }
      state.openCalls += 1
      return .success(loaded.instance)
    }
    let ready: any PartitionerInstance
    switch instance {
    case .success(let loaded): ready = loaded
    case .failure(let fault):
      let result = judge(.failure(fault), columns, nanoseconds: 0, wasCalled: false)
      return loop.inEventLoop ? answer(result) : loop.execute { answer(result) }
    }
    let batch = PlacementBatch(
      topic: topic, partitions: generation.partitions, weights: generation.binding.weights,
      keyLengths: columns.keyLengths, keys: columns.keys, headerNames: generation.headers.count,
      headerLengths: columns.headerLengths, headerValues: columns.headerValues,
      timestamps: columns.timestamps)
    let begun = time.monotonicNanoseconds
    ready.place(batch, on: loop) { result in
      let took = self.time.monotonicNanoseconds - begun
      answer(self.judge(result, columns, nanoseconds: took, wasCalled: true))
    }
  }

  /// Counts an answer and replaces one that is not there.
  private func judge(
    _ result: Result<[Int32], Fault>, _ columns: PlacementColumns, nanoseconds: Int64, wasCalled: Bool
  ) -> Result<[Int32], Fault> {
    var fault: Fault?
    switch result {
    case .failure(let why): fault = why
    case .success(let placed):
      // The host checks it where the plug-in runs; here it is an index into the topic's partitions.
      if placed.count != columns.count || placed.contains(where: { $0 < -1 || $0 >= generation.partitions }) {
        fault = Fault(
          .pluginFault, "the partitioner's answer is out of range or of the wrong length",
          metadata: ["fault": "out-of-range"])
      }
    }
    let now = time.monotonicNanoseconds
    let (tells, idle) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
      state.counts.calls += 1
      state.counts.records += UInt64(columns.count)
      if let fault {
        // A release does not bring this instance back: a new one is made then (`Partitioning.recover`).
        if fault.reason == .pluginQuarantined {
          state.problem = fault
          state.loaded = nil
        }
        state.counts.faults += 1
        if generation.binding.fallback == .reject {
          state.counts.rejectedRecords += UInt64(columns.count)
        } else {
          state.counts.fallbackRecords += UInt64(columns.count)
        }
      }
      if wasCalled {
        let placed = fault == nil ? (try? result.get()) ?? [] : []
        state.watch?.count(placed, records: columns.count, nanoseconds: nanoseconds, fault: fault)
      } else {
        state.watch?.count([], records: columns.count, nanoseconds: 0, fault: fault)
      }
      let tells = fault == nil ? state.isTold : !state.isTold && state.lastTold <= now - Self.quiet
      if tells {
        state.isTold = fault != nil
        state.lastTold = now
      }
      guard wasCalled else { return (tells, nil) }
      state.openCalls -= 1
      guard state.openCalls == 0 else { return (tells, nil) }
      defer { state.idleWaiter = nil }
      return (tells, state.idleWaiter)
    }
    idle?.resume()
    if tells { tell(fault) }
    guard let fault else { return result }
    switch generation.binding.fallback {
    case .builtIn(let builtIn):
      return .success(columns.placed(by: builtIn, partitions: generation.partitions))
    case .reject:
      return .failure(
        Fault(
          .partitionerUnavailable,
          "partitioner \(generation.binding.partitioner) of topic \"\(name)\" does not answer: \(fault.message)",
          metadata: ["topic": name, "plugin": generation.binding.partitioner, "cause": fault.reason.name],
          retryAfterMilliseconds: max(fault.retryAfterMilliseconds ?? 0, 100)))
    }
  }

  private func tell(_ fault: Fault?) {
    let metadata: Logger.Metadata = [
      "topic": "\(name)", "plugin": "\(generation.binding.partitioner)",
      "generation": "\(generation.number)", "fallback": "\(generation.binding.fallback.text)",
    ]
    if let fault {
      logger.error(
        "partitioner does not answer; its fallback is in force",
        metadata: metadata.merging(["error": "\(fault)"]) { $1 })
    } else {
      logger.notice("partitioner answers again", metadata: metadata)
    }
  }

  // MARK: Draining

  /// Returns when no call is open, or at `endDraining`. Once.
  func drained() async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let isOver = state.withLock { state in
        let isOver = state.openCalls == 0 || state.isDrainingOver
        if !isOver { state.idleWaiter = continuation }
        return isOver
      }
      if isOver { continuation.resume() }
    }
  }

  func endDraining() {
    let waiter = state.withLock { state in
      state.isDrainingOver = true
      defer { state.idleWaiter = nil }
      return state.idleWaiter
    }
    waiter?.resume()
  }
}

/// What one generation's plug-in did since the broker started.
struct PlacerCounts: Sendable, Equatable {
  var calls: UInt64 = 0
  var records: UInt64 = 0
  /// Calls without a usable answer.
  var faults: UInt64 = 0
  /// Placed by the fallback.
  var fallbackRecords: UInt64 = 0
  /// Refused, because the fallback is `reject`.
  var rejectedRecords: UInt64 = 0
}
