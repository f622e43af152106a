import SkeinCore
import Synchronization
import Wire

/// The machine of one consumer behind one lock, and those who wait for it: loops and handlers for records, callers for
/// commits, the task of the application's calls. What is for the stream is handed to its loop under the lock, so that it
/// leaves in the order in which it was made. Any thread.
final class ConsumerCore: Sendable {
  /// The current stream. Both only schedule: they are called under the lock.
  struct Outlet: Sendable {
    var send: @Sendable (SubscribeRequest) -> Void
    var sendEnd: @Sendable () -> Void
    var cancel: @Sendable () -> Void
  }

  struct State: Sendable {
    var machine: ConsumerMachine
    var outlet: Outlet?
    /// This side ended the stream to open another.
    var isReconnecting = false
    /// Loops and handlers that wait for records.
    var takers: [CheckedContinuation<Void, Never>] = []
    var commits: [UInt64: CheckedContinuation<SkeinError?, Never>] = [:]
    var lastWaiter: UInt64 = 0
    var calls = FIFO<ConsumerMachine.Call>()
    var caller: CheckedContinuation<Void, Never>?
    /// Who waits for the first join.
    var opening: CheckedContinuation<Result<Void, SkeinError>, Never>?
    var outcome: Result<Void, SkeinError>?
    /// Who waits for the end.
    var closers: [CheckedContinuation<Void, Never>] = []
  }

  /// What is done once the lock is released.
  private struct Aftermath: Sendable {
    var resumed: [CheckedContinuation<Void, Never>] = []
    var settled: [(CheckedContinuation<SkeinError?, Never>, SkeinError?)] = []
    var told: [ConsumerMachine.Effect] = []
  }

  let state: Mutex<State>
  private let configuration: ConsumerConfiguration
  private let metrics: GroupMetrics
  let clock = SystemClock()

  init(machine: ConsumerMachine, configuration: ConsumerConfiguration, metrics: GroupMetrics) {
    state = Mutex(State(machine: machine))
    self.configuration = configuration
    self.metrics = metrics
  }

  /// As `change`, where the body may refuse.
  func update<Result: Sendable>(
    _ body: (inout ConsumerMachine, Int64) throws(SkeinError) -> Result
  ) throws(SkeinError) -> Result {
    let now = clock.monotonicNanoseconds
    let (result, aftermath) = state.withLock { state -> (Swift.Result<Result, SkeinError>, Aftermath?) in
      let result = Swift.Result { () throws(SkeinError) in try body(&state.machine, now) }
      return (result, Self.perform(&state))
    }
    if let aftermath { finish(aftermath) }
    return try result.get()
  }

  private static func perform(_ state: inout State) -> Aftermath? {
    let isOver = state.machine.isOver
    let hasTakers = state.machine.hasNews && !state.takers.isEmpty
    guard !state.machine.effects.isEmpty || hasTakers || (isOver && state.hasWaiting) else { return nil }
    var aftermath = Aftermath()
    for effect in state.machine.takeEffects() {
      switch effect {
      case .send(let request): state.outlet?.send(request)
      case .sendEnd: state.outlet?.sendEnd()
      case .reconnect:
        state.isReconnecting = true
        state.outlet?.cancel()
      case .call(let call):
        state.calls.append(call)
        if let caller = state.caller { aftermath.resumed.append(caller) }
        state.caller = nil
      case .settled(let waiter, let error):
        if let commit = state.commits.removeValue(forKey: waiter) {
          aftermath.settled.append((commit, error))
        }
      case .commitFailed, .reset, .committed, .fenced: aftermath.told.append(effect)
      }
    }
    if hasTakers {
      let count =
        state.machine.isClosing ? state.takers.count : min(state.takers.count, state.machine.ready.count)
      aftermath.resumed += state.takers.prefix(count)
      state.takers.removeFirst(count)
    }
    if isOver {
      aftermath.resumed += state.closers
      state.closers = []
      if let caller = state.caller { aftermath.resumed.append(caller) }
      state.caller = nil
    }
    return aftermath
  }

  private func finish(_ aftermath: Aftermath) {
    for effect in aftermath.told {
      switch effect {
      case .commitFailed(let partition, let error):
        metrics.commitFailed()
        configuration.commitFailed?(partition, error)
      case .reset: metrics.reset()
      case .committed(let count): metrics.committed(count)
      case .fenced: metrics.fenced()
      default: break
      }
    }
    for (commit, error) in aftermath.settled { commit.resume(returning: error) }
    for waiter in aftermath.resumed { waiter.resume() }
  }

  // MARK: The application's side

  func take(isLoop: Bool) -> ConsumerMachine.Taken {
    let now = clock.monotonicNanoseconds
    let (taken, aftermath) = state.withLock { state in
      (state.machine.take(isLoop: isLoop, now: now), Self.perform(&state))
    }
    if let aftermath { finish(aftermath) }
    return taken
  }

  /// See `ConsumerMachine.step`; once a record.
  func step(_ lease: ConsumerLease, processed: ReadPosition?, taking next: ReadPosition?) -> Bool {
    let now = clock.monotonicNanoseconds
    let (may, aftermath) = state.withLock { state in
      (
        state.machine.step(lease, processed: processed, taking: next, now: now),
        state.machine.effects.isEmpty ? nil : Self.perform(&state)
      )
    }
    if let aftermath { finish(aftermath) }
    return may
  }

  /// Changes the machine and does what follows.
  func apply(_ body: (inout ConsumerMachine, Int64) -> Void) {
    change { machine, now in body(&machine, now) }
  }

  func change<Result: Sendable>(_ body: (inout ConsumerMachine, Int64) -> Result) -> Result {
    let now = clock.monotonicNanoseconds
    let (result, aftermath) = state.withLock { state in
      (body(&state.machine, now), Self.perform(&state))
    }
    if let aftermath { finish(aftermath) }
    return result
  }

  /// Suspends until `take` may find something, or the task is cancelled.
  func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          let isReady = state.machine.hasNews || Task.isCancelled
          if !isReady { state.takers.append(continuation) }
          return isReady
        }
        if isReady { continuation.resume() }
      }
    } onCancel: {
      wakeAll()
    }
  }

  /// Everybody who waits for records looks again.
  func wakeAll() {
    let takers = state.withLock { state in
      defer { state.takers = [] }
      return state.takers
    }
    for taker in takers { taker.resume() }
  }

  /// Waits until the commit is answered.
  func commit(_ request: ConsumerMachine.CommitRequest) async throws(SkeinError) {
    let now = clock.monotonicNanoseconds
    let error = await withCheckedContinuation { (continuation: CheckedContinuation<SkeinError?, Never>) in
      let (refusal, aftermath) = state.withLock { state -> (SkeinError?, Aftermath?) in
        if state.machine.isOver { return (Self.closedError, nil) }
        state.lastWaiter += 1
        let waiter = state.lastWaiter
        state.commits[waiter] = continuation
        do throws(SkeinError) {
          try state.machine.commit(request, waiter: waiter, now: now)
          return (nil, Self.perform(&state))
        } catch {
          state.commits[waiter] = nil
          return (error, nil)
        }
      }
      if let refusal { continuation.resume(returning: refusal) }
      if let aftermath { finish(aftermath) }
    }
    if let error { throw error }
  }

  static let closedError = SkeinError(
    .cancelled, "the consumer is closed; nothing was done. Make another.", outcome: .definite)

  /// Reads of the machine that change nothing.
  func look<Result: Sendable>(_ body: (borrowing ConsumerMachine) -> Result) -> Result {
    state.withLock { body($0.machine) }
  }

  // MARK: The application's calls

  /// The next call to make; nil: there will be none.
  func nextCall() async -> ConsumerMachine.Call? {
    while true {
      let (call, isOver) = state.withLock { ($0.calls.popFirst(), $0.machine.isOver) }
      if call != nil || isOver { return call }
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if !state.calls.isEmpty || state.machine.isOver { return true }
          state.caller = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    }
  }
}

extension ConsumerCore.State {
  var hasWaiting: Bool { !closers.isEmpty || caller != nil }
}
