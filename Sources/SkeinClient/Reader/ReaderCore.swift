import RecordFormat
import SkeinCore
import Synchronization

/// Machine and buffer of one reader behind one lock: the event loop puts whole messages in, the
/// consumer takes batches out. The lock is held for bookkeeping only; checking CRCs and decoding
/// happen at the consumer, outside of it.
final class ReaderCore: Sendable {
  typealias Chunk = ReceivedChunk

  enum Item {
    case chunk(Chunk)
    case failure(SkeinError)
  }

  struct State {
    var machine: ReaderMachine
    var queue = FIFO<Item>()
    /// The chunk being taken apart, and how far.
    var current: (chunk: Chunk, position: Int)?
    var waiters: [CheckedContinuation<Void, Never>] = []
    var isClosed = false
    /// What is asked for has changed: what still comes on this stream is not taken, the next one is opened.
    var isRestarting = false
    /// The supervisor waits for something to read.
    var wanted: CheckedContinuation<Void, Never>?
    /// Ends the current stream.
    var restart: (@Sendable () -> Void)?
    /// Sends a credit on the current stream.
    var grant: (@Sendable (ReaderMachine.Amount) -> Void)?
  }

  /// What a consumer finds.
  enum Take {
    case batch(bytes: SharedBytes, header: BatchHeader, chunk: Chunk)
    case failure(SkeinError)
    case nothingYet
    case end
  }

  /// Also of `ReaderCore+Seek.swift`.
  let state: Mutex<State>

  init(machine: ReaderMachine) { state = Mutex(State(machine: machine)) }

  // MARK: The consumer's side

  /// The next batch, if there is one; grants credit for a chunk as it is taken.
  func take() -> Take {
    state.withLock { state in
      while true {
        if let (chunk, position) = state.current {
          if let found = chunk.batch(at: position) {
            switch found {
            case .success(let (range, header)):
              state.current = (chunk, range.upperBound)
              guard header.nextOffset > chunk.visible.lowerBound,
                header.baseOffset < chunk.visible.upperBound
              else { continue }
              state.machine.delivered(
                topic: chunk.topic, partition: chunk.partition, next: header.nextOffset,
                epoch: header.leaderEpoch)
              return .batch(bytes: chunk.bytes.slice(range), header: header, chunk: chunk)
            case .failure(let error):
              // Its length cannot be trusted: the rest of the chunk is lost to the consumer, said aloud.
              state.current = nil
              state.machine.delivered(
                topic: chunk.topic, partition: chunk.partition, next: chunk.nextOffset,
                epoch: chunk.leaderEpoch)
              return .failure(error)
            }
          }
          state.current = nil
        }
        guard let item = state.queue.popFirst() else {
          return state.machine.isDone || state.isClosed ? .end : .nothingYet
        }
        switch item {
        case .failure(let error): return .failure(error)
        case .chunk(let chunk):
          state.current = (chunk, 0)
          state.machine.taken(chunk.charge)
          // Sent under the lock, so that totals leave in the order in which they were made.
          if let amount = state.machine.nextGrant() { state.grant?(amount) }
        }
      }
    }
  }

  /// Suspends until `take` may find something, or the task is cancelled.
  func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          let isReady = !state.queue.isEmpty || state.machine.isDone || state.isClosed || Task.isCancelled
          if !isReady { state.waiters.append(continuation) }
          return isReady
        }
        if isReady { continuation.resume() }
      }
    } onCancel: {
      wake()
    }
  }

  private func wake() {
    let waiters = state.withLock { state in
      defer { state.waiters.removeAll() }
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Next offset per partition as far as received.
  var positions: [(topic: String, partition: Int32, next: Int64, epoch: Int32)] {
    state.withLock { $0.machine.slots.map { ($0.topic, $0.partition, $0.next, $0.epoch) } }
  }

  // MARK: The stream's side

  var isOver: Bool { state.withLock { $0.isClosed } }

  /// A stream begins: what to read, and the first credit.
  /// - Parameter grant: sends a credit; called under the lock, must only schedule.
  func streamOpened(
    grant: @escaping @Sendable (ReaderMachine.Amount) -> Void, restart: @escaping @Sendable () -> Void
  ) -> (slots: [ReaderMachine.Slot], credit: ReaderMachine.Amount) {
    state.withLock { state in
      state.grant = grant
      state.restart = restart
      state.isRestarting = false
      let credit = state.machine.streamOpened()
      return (state.machine.wanted, credit)
    }
  }

  /// A partition is to be read.
  var isWanted: Bool { state.withLock { !$0.machine.wanted.isEmpty } }

  /// Suspends while every partition is at its end or paused; a seek or `resume` changes that.
  func waitUntilWanted() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isWanted = state.withLock { state in
          if state.isClosed || Task.isCancelled || !state.machine.wanted.isEmpty { return true }
          state.wanted = continuation
          return false
        }
        if isWanted { continuation.resume() }
      }
    } onCancel: {
      wakeSupervisor()
    }
  }

  private func wakeSupervisor() {
    let wanted = state.withLock { state in
      defer { state.wanted = nil }
      return state.wanted
    }
    wanted?.resume()
  }

  /// Returns whether this side ended it: something else is asked for now, or nothing.
  func streamLost() -> Bool {
    state.withLock { state in
      defer { state.isRestarting = false }
      state.grant = nil
      state.restart = nil
      state.machine.streamLost()
      return state.isRestarting || state.machine.wanted.isEmpty
    }
  }

  /// - Throws: the broker broke the contract.
  func arrived(
    _ arrival: ReaderMachine.Arrival, bytes: SharedBytes, highWatermark: Int64
  ) throws(SkeinError) {
    let verdict = state.withLock { state -> ReaderMachine.Verdict in
      guard !state.isRestarting else { return .skip }
      let verdict = state.machine.arrived(arrival)
      if case .deliver(_, let from, let until, let charge) = verdict, from < until {
        state.queue.append(
          .chunk(
            Chunk(
              topic: arrival.topic, partition: arrival.partition, bytes: bytes, visible: from..<until,
              highWatermark: highWatermark, nextOffset: arrival.nextOffset,
              leaderEpoch: arrival.leaderEpoch, charge: charge)))
      }
      if let amount = state.machine.nextGrant() { state.grant?(amount) }
      return verdict
    }
    if case .broken(let error) = verdict { throw error }
    wake()
  }

  /// One partition is over; the consumer learns why, in order.
  func failed(topic: String, partition: Int32, _ error: SkeinError) {
    state.withLock { state in
      guard !state.isRestarting else { return }
      state.machine.finish(topic: topic, partition: partition)
      state.queue.append(.failure(error))
    }
    wake()
  }

  /// Everything is over; a nil error is a wish of this side.
  func close(_ error: SkeinError?) {
    state.withLock { state in
      if let error, !state.isClosed { state.queue.append(.failure(error)) }
      state.isClosed = true
    }
    wake()
    wakeSupervisor()
  }
}
