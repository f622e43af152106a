import CSkeinShims
import Logging
import NIOCore
import NIOPosix
import PluginABI
import PluginPackage
import SkeinCore

/// One artifact's child: started when it is needed, watched, killed when it hangs or takes too much, started again with its
/// instances while they are wanted.
///
/// Confined to its loop, but for `image`, `record` and the methods that say "any thread". Processes are started and
/// buried by the supervisor's thread; the answers come back to the loop.
final class PluginChild: @unchecked Sendable {
  // Safe between threads: everything that changes belongs to `loop`.
  let loop: any EventLoop
  let record: PluginRecord
  let manifest: Manifest
  let configuration: PluginHostConfiguration
  let logger: Logger
  private let image: SealedImage
  private let limits: ChildLimits
  private let supervisor: Supervisor
  /// False for a probe: what dies stays dead.
  private let restarts: Bool

  private(set) var process: Process = .none
  var instances: [UInt32: ChildInstance] = [:]
  var calls: [UInt64: ChildCall] = [:]
  /// Given up, their answer still to come.
  var abandoned: Set<UInt64> = []
  var openBytes = 0
  var breaker = CircuitBreaker()
  private var backoff: Backoff
  private var newestCall: UInt64 = 0
  private var newestInstance: UInt32 = 0
  private var deadlineTimer: (at: NIODeadline, task: Scheduled<Void>)?
  private var isClosed = false
  /// Told when no process is left, after `close`.
  private var onClosed: [@Sendable () -> Void] = []
  /// Of the last start, for a probe.
  private(set) var startReport = ProbeReport()

  enum Process {
    case none
    /// → running, or none.
    case starting
    /// → none.
    case running(RunningChild)
    /// Died; starts again at the timer. → starting.
    case waiting(until: Int64, Scheduled<Void>)
  }

  init(
    _ artifact: VerifiedArtifact, image: SealedImage, record: PluginRecord, loop: any EventLoop,
    supervisor: Supervisor, configuration: PluginHostConfiguration, logger: Logger, restarts: Bool
  ) {
    manifest = artifact.manifest
    self.image = image
    self.record = record
    self.loop = loop
    self.supervisor = supervisor
    self.configuration = configuration
    self.logger = logger
    self.restarts = restarts
    backoff = Backoff(configuration.backoffMilliseconds)
    let asked = artifact.manifest.memoryMegabytes
    limits = ChildLimits(
      memoryMegabytes: (asked > 0 ? asked : configuration.memoryMegabytes)
        + configuration.baseMemoryMegabytes,
      descriptors: configuration.maximumDescriptors, network: artifact.grants.contains(.network),
      paths: artifact.manifest.paths)
  }

  /// The process, while it may be spoken to.
  var running: RunningChild? {
    if case .running(let running) = process, !running.isBuried { running } else { nil }
  }

  // MARK: Start

  /// Starts the child if none is there.
  func ensureStarted() {
    guard case .none = process, !isClosed, record.quarantined == nil else { return }
    process = .starting
    supervisor.run { [self, image, limits, configuration] in
      let result: Result<SpawnedChild, SpawnedChild.Failure>
      do throws(SpawnedChild.Failure) {
        result = .success(try SpawnedChild.start(image, limits: limits, configuration: configuration))
      } catch {
        result = .failure(error)
      }
      loop.execute { self.spawned(result) }
    }
  }

  private func spawned(_ result: Result<SpawnedChild, SpawnedChild.Failure>) {
    switch result {
    case .failure(let failure): couldNotStart(failure.text)
    case .success(let spawned):
      let running = RunningChild(spawned)
      process = .running(running)
      record.change { $0.status.processID = spawned.pid }
      connect(running)
    }
  }

  private func connect(_ running: RunningChild) {
    let handler = NIOLoopBound(
      ChildFrameHandler(
        onFrame: { [self] (header, payload) throws(ChildFrame.Malformed) in
          try received(header, payload, from: running)
        },
        onEnd: { [self] broken in
          if let broken { running.verdict = running.verdict ?? (.malformed, broken) }
          bury(running)
        }), eventLoop: loop)
    ClientBootstrap(group: loop).channelInitializer { channel in
      channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(handler.value) }
    }.withConnectedSocket(running.spawned.socket).assumeIsolatedUnsafeUnchecked().whenComplete {
      [self] result in
      switch result {
      case .failure(let error):
        running.verdict = (.crash, "its socket is of no use: \(error)")
        bury(running)
      case .success(let channel):
        running.channel = channel
        let hello = ChildHello(id: manifest.reference.id, pluginVersion: manifest.reference.version)
        write(hello.frame())
        running.timers.append(
          after(configuration.loadDeadlineMilliseconds) { child in
            if !running.isLoaded {
              child.kill(.hang, "its load took more than \(child.configuration.loadDeadlineMilliseconds) ms")
            }
          })
      }
    }
  }

  /// The plug-in is in; instances are made, those of the process before first.
  func loaded(_ running: RunningChild) {
    running.isLoaded = true
    startReport.landlock = running.landlock
    startReport.loadNanoseconds = PluginClock.now - running.helloedAt
    startReport.startNanoseconds = PluginClock.now - running.spawned.startedAt
    for number in instances.keys.sorted() { sendCreate(number) }
    lookSoon(at: running)
    leaveIfUnused()
  }

  private func couldNotStart(_ why: String) {
    process = .none
    logger.error("plug-in host program", metadata: ["plugin": "\(manifest.reference)", "problem": "\(why)"])
    failCreations(.unavailable(why, retryAfterMilliseconds: 1_000))
    startAgainLater()
  }

  private func startAgainLater() {
    guard restarts, !isClosed, !instances.isEmpty, record.quarantined == nil else { return finishClosing() }
    let wait = backoff.wait()
    let task = after(wait) { child in
      child.process = .none
      child.record.change { $0.status.restarts &+= 1 }
      child.ensureStarted()
    }
    process = .waiting(until: PluginClock.now + wait * 1_000_000, task)
  }

  // MARK: End

  /// Ends the process at once; the reason is noted when it is buried.
  func kill(_ kind: PluginFaultRecord.Kind, _ why: String) {
    guard let running, running.verdict == nil else { return }
    running.verdict = (kind, why)
    let pid = running.spawned.pid
    supervisor.run { skein_kill(pid) }
    bury(running)
  }

  /// The process is dead, or as good as.
  private func bury(_ running: RunningChild) {
    guard !running.isBuried else { return }
    running.isBuried = true
    running.cancelTimers()
    running.channel?.close(promise: nil)
    let grace: Int32 = running.verdict == nil && !running.isLeaving ? 200 : 0
    supervisor.run { [self, errors = running.errors, pid = running.spawned.pid] in
      var code: Int32 = -1
      var signal: Int32 = 0
      _ = skein_reap(pid, grace, &code, &signal)
      let end = ChildEnd(code: code, signal: signal, printed: errors.finish())
      loop.execute { self.buried(running, end) }
    }
  }

  private func buried(_ running: RunningChild, _ end: ChildEnd) {
    process = .none
    record.change {
      $0.status.processID = 0
      $0.samples = []
    }
    if running.isLeaving {
      failCalls(.unavailable("it is being stopped", retryAfterMilliseconds: 100))
      failCreations(.unavailable("it is being stopped", retryAfterMilliseconds: 100))
      return instances.isEmpty || isClosed ? finishClosing() : ensureStarted()
    }
    let kind = running.verdict?.kind ?? end.kind
    let detail = "\(running.phase): \(running.verdict?.why ?? end.text)"
    let users = Set(instances.values.map(\.usedBy)).sorted().joined(separator: ", ")
    failCalls(.fault(kind, detail))
    if running.isLoaded && PluginClock.now - running.spawned.startedAt > 60_000_000_000 {
      backoff.succeeded()
    }
    if let refusal = running.refusal {
      failCreations(.refused(check: refusal.check.rawValue, refusal.message))
    } else {
      record.fault(kind, detail, usedBy: users)
      failCreations(.fault(kind, detail))
    }
    startAgainLater()
  }

  private func failCalls(_ failure: CallFailure) {
    let failed = calls
    calls = [:]
    openBytes = 0
    abandoned = []
    for number in instances.keys { instances[number]?.openCalls = 0 }
    for (_, call) in failed { answer(call, failure) }
  }

  /// Instances that were never there are given up; the others are made again in the next process.
  private func failCreations(_ failure: CallFailure) {
    for (number, instance) in instances {
      if instance.isEnding {
        forget(number)
      } else if let waiting = instance.onMade {
        forget(number)
        waiting.give(.failure(failure))
      } else {
        instances[number]?.isReady = false
      }
    }
  }

  // MARK: Leaving

  /// No instance is left: the process goes.
  func leaveIfUnused() {
    guard instances.isEmpty else { return }
    switch process {
    case .running(let running):
      running.isLeaving = true
      bury(running)
    case .waiting(_, let task):
      task.cancel()
      process = .none
      finishClosing()
    case .none: finishClosing()
    case .starting: break
    }
  }

  /// It was quarantined: the process goes, its instances stay without service.
  func halt() {
    guard let running else { return }
    running.isLeaving = true
    if let why = record.quarantined { failCalls(.quarantined(why)) }
    bury(running)
  }

  /// It was released: instances that are still held are served again.
  func revive() {
    if !instances.isEmpty { ensureStarted() }
  }

  /// Ends everything; `done` is called on the loop when no process is left.
  func close(_ done: @escaping @Sendable () -> Void) {
    isClosed = true
    onClosed.append(done)
    for number in instances.keys { end(number) }
    leaveIfUnused()
  }

  private func finishClosing() {
    // Started, and nobody wants it any more: `spawned` comes here by way of `leaveIfUnused`.
    guard isClosed else { return }
    let done = onClosed
    onClosed = []
    for tell in done { tell() }
  }

  // MARK: Timers and calls

  func newCall() -> UInt64 {
    newestCall += 1
    return newestCall
  }

  func newInstance() -> UInt32 {
    newestInstance &+= 1
    return newestInstance
  }

  func isKnown(_ call: UInt64) -> Bool { call != 0 && call <= newestCall }

  func write(_ frame: [UInt8]) {
    guard let channel = running?.channel else { return }
    channel.writeAndFlush(ByteBuffer(bytes: frame), promise: nil)
  }

  func after(_ milliseconds: Int64, _ body: @escaping (PluginChild) -> Void) -> Scheduled<Void> {
    loop.assumeIsolatedUnsafeUnchecked().scheduleTask(in: .milliseconds(milliseconds)) { [weak self] in
      if let self { body(self) }
    }
  }

  /// Makes sure that somebody looks when `deadline` passes.
  func watch(_ deadline: NIODeadline) {
    if let timer = deadlineTimer {
      if timer.at <= deadline { return }
      timer.task.cancel()
    }
    let task = loop.assumeIsolatedUnsafeUnchecked().scheduleTask(deadline: deadline) { [weak self] in
      guard let self else { return }
      deadlineTimer = nil
      expire(at: .now())
      if let next = calls.values.map(\.deadline).min() { watch(next) }
    }
    deadlineTimer = (deadline, task)
  }

  private func lookSoon(at running: RunningChild) {
    running.cancelTimers()
    running.timers.append(after(configuration.pollMilliseconds) { $0.look(at: running) })
  }

  private func look(at running: RunningChild) {
    guard running === self.running else { return }
    lookSoon(at: running)
    running.frames = 0
    running.errors.drain()
    ping()
    let pid = running.spawned.pid
    supervisor.run { [self] in
      var resident: Int64 = -1
      var threads: Int64 = -1
      var descriptors: Int64 = -1
      guard skein_usage(pid, &resident, &threads, &descriptors) == 0 else { return }
      let usage = (resident, threads, descriptors)
      loop.execute { self.check(running, usage) }
    }
  }

  private func check(_ running: RunningChild, _ usage: (resident: Int64, threads: Int64, descriptors: Int64))
  {
    guard running === self.running else { return }
    record.change { $0.status.residentBytes = max(usage.resident, 0) }
    startReport.residentBytes = max(usage.resident, 0)
    if usage.resident > Int64(limits.memoryMegabytes) << 20 {
      kill(
        .memory,
        "it holds \(usage.resident >> 20) MiB, \(limits.memoryMegabytes) are allowed (the manifest's memory_mb and \(configuration.baseMemoryMegabytes))"
      )
    } else if usage.threads > configuration.maximumThreads {
      kill(.threads, "it has \(usage.threads) threads, \(configuration.maximumThreads) are allowed")
    } else if usage.descriptors >= configuration.maximumDescriptors {
      kill(
        .descriptors,
        "it has \(usage.descriptors) open files, \(configuration.maximumDescriptors) are allowed")
    }
  }
}
