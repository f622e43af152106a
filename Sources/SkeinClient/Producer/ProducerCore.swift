import SkeinCore
import Synchronization
import Tracing

/// Buffer and machine of one producer behind one lock, so that appending is synchronous from any
/// thread: no hop, no task, no allocation per record. The lock is held for a record's copy or a
/// batch's bookkeeping, never across I/O; continuations and handlers run after it is released.
final class ProducerCore: Sendable {
  struct State: ~Copyable {
    var machine: ProducerMachine
    var buffer: ProducerBuffer
    var flushes: [Flush] = []
    var spaceWaiters: [CheckedContinuation<Void, Never>] = []
    /// First failure of a record that nobody waited for since the last `flush`.
    var unreported: SkeinError?
    /// Runs the pump of the current stream; nil between streams.
    var pump: (@Sendable () -> Void)?
    var isPumpDue = false
    var isTimerDue = false
    var isClosed = false
    /// Topics that the broker says are not as we know them, and who describes them again.
    var staleTopics: Set<String> = []
    var describer: CheckedContinuation<Void, Never>?
  }

  /// Somebody waits until every batch up to `number` is over.
  struct Flush {
    let id: UInt64
    var number: UInt64
    var remaining: Int
    /// Until every staged chunk up to this number has its partitions, `remaining` means nothing; 0: it has.
    var staged: UInt64
    let continuation: CheckedContinuation<SkeinError?, Never>
  }

  /// What is done after the lock is released.
  struct Effects {
    var completions: [ProducerMachine.Completion] = []
    var abandoned: [(topic: String, partition: Int32, ticket: BatchTicket, error: SkeinError)] = []
    /// When the completions came, in monotonic nanoseconds.
    var now: Int64 = 0
    var space: [CheckedContinuation<Void, Never>] = []
    var flushed: [(CheckedContinuation<SkeinError?, Never>, SkeinError?)] = []
    var pump: (@Sendable () -> Void)?
    var describer: CheckedContinuation<Void, Never>?
  }

  let state: Mutex<State>
  private let flushIDs = Atomic<UInt64>(0)
  let clock = SystemClock()
  let deliveryHandler: (@Sendable (BatchDelivery) -> Void)?
  /// A tracer was there when the producer was opened.
  let isTraced = !(InstrumentationSystem.instrument is NoOpInstrument)

  init(configuration: ProducerConfiguration, random: any RandomSource) {
    let machine = ProducerMachine(random: random, resequence: BatchRewriter.resequence)
    let buffer = ProducerBuffer(configuration: configuration)
    state = Mutex(State(machine: machine, buffer: buffer))
    deliveryHandler = configuration.deliveryHandler
  }

  // MARK: Appending

  /// Copies the record into its batch, or returns false when the buffer is full.
  /// - Parameter front: the topic's.
  @inline(__always)
  func append(
    _ record: RecordInput, topic: Int, front: StagingFront, waiter: RecordWaiter? = nil
  ) throws(SkeinError) -> Bool {
    if front.append(record, waiter: waiter) { return true }
    return try append(record, topic: topic, waiter: waiter)
  }

  /// The same without the short way.
  func append(_ record: RecordInput, topic: Int, waiter: RecordWaiter? = nil) throws(SkeinError) -> Bool {
    let (outcome, effects, places) = state.withLock { state -> (Result<Bool, SkeinError>, Effects?, Bool) in
      if let failure = state.machine.failure { return (.failure(failure), nil, false) }
      guard !state.isClosed else { return (.failure(Self.closedError), nil, false) }
      do throws(SkeinError) {
        switch try state.buffer.append(
          record, topic: topic, waiter: waiter, clock: clock, machine: &state.machine)
        {
        case .full: return (.success(false), nil, false)
        case .taken(let sealed, let opened, let places):
          guard sealed || (opened && !state.isTimerDue) else { return (.success(true), nil, places) }
          return (.success(true), Self.effects(&state, []), places)
        }
      } catch { return (.failure(error), nil, false) }
    }
    if let effects { perform(effects) }
    if places { place(topic) }
    return try outcome.get()
  }

  /// Suspends until bytes of the buffer are free again (or the producer is over).
  func waitForSpace() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        let limit = state.buffer.configuration.bufferBytes
        if state.isClosed || state.machine.failure != nil || state.buffer.used * 8 <= limit * 7 {
          return true
        }
        state.spaceWaiters.append(continuation)
        return false
      }
      if isFree { continuation.resume() }
    }
  }

  /// Seals everything and waits until all of it is acknowledged or failed. Returns the first failure
  /// of a record that nobody waited for since the last flush; CANCELLED when the task is cancelled
  /// (what was taken goes on its way all the same).
  func flush() async -> SkeinError? {
    let id = flushIDs.add(1, ordering: .relaxed).newValue
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let effects = state.withLock { state in
          // Sealed at once, also behind a full window: `number` must cover everything appended.
          state.buffer.sealAll(machine: &state.machine)
          state.buffer.closeStaged()
          state.flushes.append(
            Flush(
              id: id, number: state.buffer.lastNumber, remaining: state.machine.outstanding,
              staged: state.buffer.hasStaged ? state.buffer.lastChunk : 0, continuation: continuation))
          return Self.effects(&state, [])
        }
        perform(effects)
        if Task.isCancelled { cancelFlush(id) }
      }
    } onCancel: {
      cancelFlush(id)
    }
  }

  private func cancelFlush(_ id: UInt64) {
    let flush = state.withLock { state -> Flush? in
      state.flushes.firstIndex { $0.id == id }.map { state.flushes.remove(at: $0) }
    }
    flush?.continuation.resume(
      returning: SkeinError(.cancelled, "cancelled while waiting for acknowledgements"))
  }

  // MARK: Topics

  /// Registers a topic; returns its index.
  /// - Parameter codec: the topic's own, for a producer that was told nothing.
  func register(
    _ name: String, partitioner: TopicPartitioner, generation: UInt32, partitions: Int32,
    codec: Codec? = nil
  ) -> Int {
    state.withLock { state in
      state.buffer.addTopic(
        name: name, partitioner: partitioner, generation: generation, partitions: partitions, codec: codec,
        machine: &state.machine)
    }
  }

  /// Where the topic's records are taken while the broker has its partitioner.
  func front(_ topic: Int) -> StagingFront { state.withLock { $0.buffer.topics[topic].front } }

  /// Partitions of the topic as known now.
  func partitionCount(_ topic: Int) -> Int32 {
    state.withLock { Int32($0.buffer.topics[topic].lanes.count) }
  }

  // MARK: The stream's events

  /// Somebody waits for `flush`; for tests.
  var isFlushing: Bool { state.withLock { !$0.flushes.isEmpty } }
  var failure: SkeinError? { state.withLock { $0.machine.failure } }
  var hasOutstanding: Bool {
    state.withLock { $0.machine.outstanding > 0 || $0.buffer.hasOpenBatches || $0.buffer.hasStaged }
  }

  /// - Parameter pump: schedules `pump` on the stream's loop; called from any thread.
  func streamOpened(
    producerID: Int64, producerEpoch: Int16, window: Int, limits: BatchLimits,
    pump: @escaping @Sendable () -> Void
  ) {
    let effects = state.withLock { state in
      state.buffer.producerID = producerID
      state.buffer.producerEpoch = producerEpoch
      state.buffer.limits = limits
      state.machine.streamOpened(window: min(window, state.buffer.configuration.maxInFlightBatches))
      state.buffer.allLanesMoved()
      state.pump = pump
      state.isPumpDue = false
      state.isTimerDue = false
      return Self.effects(&state, [])
    }
    perform(effects)
  }

  func streamLost() {
    perform(
      state.withLock { state in
        state.pump = nil
        state.buffer.questionsLost()
        let completions = state.machine.streamLost()
        return Self.effects(&state, completions)
      })
  }

  /// What to send next, sealing ripe batches on the way; nil when nothing may leave now.
  func nextSending() -> ProducerMachine.Sending? {
    let (sending, effects) = state.withLock { state -> (ProducerMachine.Sending?, Effects?) in
      if let sending = state.machine.nextSending() { return (sending, nil) }
      guard state.buffer.sealRipe(machine: &state.machine) else {
        return (nil, state.buffer.spoiled.isEmpty ? nil : Self.effects(&state, []))
      }
      return (state.machine.nextSending(), nil)
    }
    if let effects { perform(effects) }
    return sending
  }

  /// Begins a run of the pump: marks what has lingered, opens lanes whose pause is over. Returns when to run again
  /// for these, and whether anything may have to be asked.
  func pumpBegins() -> (due: Int64?, asks: Bool) {
    let now = clock.monotonicNanoseconds
    return state.withLock { state in
      state.isPumpDue = false
      var due = state.buffer.ripen(now: now)
      state.isTimerDue = due != nil
      let hasStaged = state.buffer.hasStaged
      if hasStaged, let pause = state.buffer.nextQuestionDue(after: now) { due = min(due ?? .max, pause) }
      if let wake = state.machine.nextWake {
        if wake <= now {
          state.machine.wake(now: now)
          state.buffer.allLanesMoved()
        }
        if let next = state.machine.nextWake { due = min(due ?? .max, next) }
      }
      return (due, hasStaged)
    }
  }

  func answered(_ answers: [(UInt64, ProducerMachine.Answer)]) {
    let now = clock.monotonicNanoseconds
    perform(
      state.withLock { state in
        var completions: [ProducerMachine.Completion] = []
        for (id, answer) in answers {
          let (lane, over) = state.machine.answered(id, answer, now: now)
          completions += over
          if let lane { state.buffer.laneMoved(lane) }
        }
        return Self.effects(&state, completions)
      })
  }

  /// Housekeeping: back-offs and delivery deadlines.
  /// - Parameter now: monotonic nanoseconds; tests run ahead of the clock.
  func tick(now: Int64 = SystemClock().monotonicNanoseconds) {
    perform(
      state.withLock { state in
        // While there is no stream nothing is sealed by the pump; deadlines count all the same.
        if !state.machine.isConnected { state.buffer.sealOverdue(now: now, machine: &state.machine) }
        state.buffer.expireStaged(now: now)
        let completions = state.machine.tick(now: now)
        // A pause may have ended.
        state.buffer.allLanesMoved()
        return Self.effects(&state, completions)
      })
  }

  func fail(_ error: SkeinError) {
    perform(
      state.withLock { state in
        let completions = state.machine.fail(error)
        return Self.effects(&state, completions)
      })
  }

  /// Nothing is taken any more.
  func close() {
    perform(
      state.withLock { state in
        state.isClosed = true
        state.buffer.closeStaged()
        return Self.effects(&state, [])
      })
  }

  static let closedError = SkeinError(
    .cancelled, "the producer is closed; nothing was sent. Make a new one.", outcome: .definite)
}
