import CommitLog
import Logging
import NIOCore
import NIOPosix
import SkeinCore
import Synchronization

/// The threads behind a log directory: one flusher (R47, R48), one for write-behind and upkeep, one for
/// the cleaner, and a small pool for cold reads. The steps themselves are `LogDirectory`'s; here is only when they run.
///
/// No timer drives the flusher: the next sync starts when the last one has returned and takes all
/// that was submitted meanwhile.
final class LogWorkers: Sendable {
  /// Readers of cold segments.
  static let readThreads = 2

  let directory: LogDirectory
  let readPool = NIOThreadPool(numberOfThreads: LogWorkers.readThreads)
  private let flushPool = NIOThreadPool(numberOfThreads: 1)
  private let cleanPool = NIOThreadPool(numberOfThreads: 1)
  private let behindPool = NIOThreadPool(numberOfThreads: 1)
  private let flushScheduled = Atomic<Bool>(false)
  private let behindScheduled = Atomic<Bool>(false)
  private let failed = Atomic<Bool>(false)
  /// The flusher waits for room in the journal, which the write-behind thread makes.
  private let flushBlocked = Atomic<Bool>(false)
  private let logger: Logger
  /// Closures in a struct of their own: a closure that is itself a Mutex's value is wrapped in two
  /// more thunks by every access, until a call of it overflows the stack.
  private struct Receivers: Sendable {
    var advanced: @Sendable ([DurableAdvance]) -> Void = { _ in }
    var failure: @Sendable (LogError) -> Void = { _ in }
  }
  private let receivers = Mutex(Receivers())

  init(directory: LogDirectory, logger: Logger) {
    self.directory = directory
    self.logger = logger
  }

  /// - Parameters:
  ///   - advanced: called on the flusher's thread after each sync.
  ///   - failure: called once, on a worker's thread, when the directory went offline (R56).
  func start(
    advanced: @escaping @Sendable ([DurableAdvance]) -> Void,
    failure: @escaping @Sendable (LogError) -> Void
  ) {
    receivers.withLock { $0 = Receivers(advanced: advanced, failure: failure) }
    readPool.start()
    flushPool.start()
    cleanPool.start()
    behindPool.start()
  }

  /// Something was submitted. Any thread; cheap when a flush is scheduled already.
  func notifyFlusher() {
    guard !flushScheduled.exchange(true, ordering: .acquiringAndReleasing) else { return }
    flushPool.submit { [self] state in
      guard case .active = state else { return }
      // Cleared before the step takes the queue: what is submitted after that schedules again.
      flushScheduled.store(false, ordering: .sequentiallyConsistent)
      flushOnce()
    }
  }

  private func flushOnce() {
    guard !failed.load(ordering: .relaxed) else { return }
    let advance = receivers.withLock { $0.advanced }
    do throws(LogError) {
      let advances = try directory.flushStep()
      let blocked = directory.isFlushBlocked
      flushBlocked.store(blocked, ordering: .releasing)
      guard blocked || !advances.isEmpty else { return }
      if !advances.isEmpty { advance(advances) }
      notifyWriteBehind()
    } catch {
      fail(error)
    }
  }

  /// There may be something to write behind. Any thread.
  func notifyWriteBehind() {
    guard !behindScheduled.exchange(true, ordering: .acquiringAndReleasing) else { return }
    behindPool.submit { [self] state in
      guard case .active = state else { return }
      behindScheduled.store(false, ordering: .sequentiallyConsistent)
      guard !failed.load(ordering: .relaxed) else { return }
      do throws(LogError) {
        if try directory.writeBehindStep() { notifyWriteBehind() }
        // On a full disk nothing makes room but upkeep, which asks again: no busy waiting here.
        if case .full = directory.state { return }
        if flushBlocked.load(ordering: .acquiring) { notifyFlusher() }
      } catch {
        fail(error)
      }
    }
  }

  /// Runs upkeep (roll by time, retention, checkpoint) on the write-behind thread and waits for it.
  func maintain() async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      behindPool.submit { [self] state in
        defer { continuation.resume() }
        guard case .active = state, !failed.load(ordering: .relaxed) else { return }
        do throws(LogError) {
          if try directory.maintenanceStep() { notifyFlusher() }
        } catch {
          fail(error)
        }
      }
    }
    notifyWriteBehind()
  }

  /// Commits everything submitted so far: it is durable when this returns.
  ///
  /// While the journal is full that takes until segments are written behind.
  /// - Throws: `LOG_OFFLINE` (unknown) when the directory is offline, or its disk so full that the
  ///   journal finds no room within `flushPatience`.
  func flushNow() async throws {
    let begun = ContinuousClock.now
    while true {
      let isBlocked = try await flushPool.runIfActive { [self] in
        flushOnce()
        return directory.isFlushBlocked
      }
      if failed.load(ordering: .relaxed) {
        if case .offline(let error) = directory.state { throw error.fault }
      }
      guard isBlocked else { return }
      guard ContinuousClock.now - begun < Self.flushPatience else {
        throw Fault(
          .logOffline,
          "the journal has been full for \(Self.flushPatience); the change takes effect once segments are written; free space on the disk",
          retryAfterMilliseconds: 5_000)
      }
      // `flushOnce` has asked the write-behind thread for room: let it do a step, then try again.
      notifyWriteBehind()
      try await behindPool.runIfActive {}
      if case .full = directory.state { try await Task.sleep(for: .milliseconds(100)) }
    }
  }

  /// How long `flushNow` waits for a full journal.
  static let flushPatience = Duration.seconds(30)

  /// Waits until the damage was cut out of partitions whose loss was accepted.
  /// - Throws: `LOG_OFFLINE` (unknown) when the directory fails, or does not get there in time.
  func salvage(_ keys: [TopicPartition]) async throws {
    let begun = ContinuousClock.now
    while keys.contains(where: { directory.partition($0)?.corruption != nil }) {
      if case .offline(let error) = directory.state { throw error.fault }
      guard ContinuousClock.now - begun < Self.salvagePatience else {
        throw Fault(
          .logOffline,
          "the damage is still being cut out after \(Self.salvagePatience); Cluster/Health tells when the partitions are served"
        )
      }
      notifyWriteBehind()
      // Behind the step that was just asked for; on a full disk steps wait for upkeep.
      try await behindPool.runIfActive {}
      if case .full = directory.state { try await Task.sleep(for: .milliseconds(100)) }
    }
  }

  static let salvagePatience = Duration.seconds(60)

  /// Runs a blocking piece of log work off the event loops.
  func perform<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
    try await behindPool.runIfActive(work)
  }

  /// One step of compaction. Throws when the directory is offline or the threads stop.
  func clean(maxBytes: Int) async throws -> CleanStep {
    try await cleanPool.runIfActive { [self] in
      do throws(LogError) { return try directory.cleanStep(maxBytes: maxBytes) } catch {
        fail(error)
        throw error
      }
    }
  }

  private func fail(_ error: LogError) {
    guard !failed.exchange(true, ordering: .relaxed) else { return }
    logger.critical("log directory offline", metadata: ["error": "\(error)"])
    receivers.withLock { $0.failure }(error)
  }

  /// Writes everything behind, closes the directory cleanly, stops the threads. After the last append.
  func stop() async {
    // Its step ends first: closing wants the directory for itself.
    try? await cleanPool.shutdownGracefully()
    do {
      if !failed.load(ordering: .relaxed) {
        try await flushNow()
        let last = try await behindPool.runIfActive { [directory] in try directory.close() }
        if !last.isEmpty { receivers.withLock { $0.advanced }(last) }
      }
    } catch {
      logger.error("log directory did not close cleanly", metadata: ["error": "\(error)"])
    }
    await endThreads()
  }

  /// Stops the threads without another sync and leaves the directory as a killed process would.
  func abandon() async {
    failed.store(true, ordering: .relaxed)
    await endThreads()
    directory.abandon()
  }

  private func endThreads() async {
    try? await cleanPool.shutdownGracefully()
    try? await flushPool.shutdownGracefully()
    try? await behindPool.shutdownGracefully()
    try? await readPool.shutdownGracefully()
  }
}
