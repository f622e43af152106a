import Synchronization

/// Bounded queues between the one who takes records and the handlers: all records of a key (of a partition) go through
/// one of them, in order. One task fills them, one empties each. Any thread.
final class KeyLanes: Sendable {
  /// Records that wait in one lane at most; behind a slow handler the whole consumer waits.
  static let capacity = 64

  private struct Lane {
    var queue = FIFO<(ConsumedRecord, RecordTicket)>()
    var worker: CheckedContinuation<Void, Never>?
  }

  private struct State {
    var lanes: [Lane]
    var isFinished = false
    /// Waits for a place in `full`.
    var sender: CheckedContinuation<Void, Never>?
    var full = 0
  }

  private let state: Mutex<State>
  private let count: Int

  init(count: Int) {
    self.count = count
    state = Mutex(State(lanes: (0..<count).map { _ in Lane() }))
  }

  /// Records without a key are in order within their partition.
  func lane(of record: ConsumedRecord) -> Int {
    var hasher = Hasher()
    hasher.combine(record.topic)
    hasher.combine(record.partition)
    if let key = record.key { key.withUnsafeBytes { hasher.combine(bytes: $0) } }
    return Int(UInt(bitPattern: hasher.finalize()) % UInt(count))
  }

  /// Waits for a place; false when the task was cancelled before there was one.
  func push(_ record: ConsumedRecord, _ ticket: RecordTicket) async -> Bool {
    let lane = lane(of: record)
    while !Task.isCancelled {
      let (isIn, worker) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
        guard state.lanes[lane].queue.count < Self.capacity else { return (false, nil) }
        state.lanes[lane].queue.append((record, ticket))
        defer { state.lanes[lane].worker = nil }
        return (true, state.lanes[lane].worker)
      }
      worker?.resume()
      if isIn { return true }
      await waitForPlace(lane)
    }
    return false
  }

  private func waitForPlace(_ lane: Int) async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if state.lanes[lane].queue.count < Self.capacity || Task.isCancelled { return true }
          state.sender = continuation
          state.full = lane
          return false
        }
        if isReady { continuation.resume() }
      }
    } onCancel: {
      let sender = state.withLock { state in
        defer { state.sender = nil }
        return state.sender
      }
      sender?.resume()
    }
  }

  /// The next record of a lane; nil when all is done. A cancelled task still gets what waits, to put it back.
  func next(_ lane: Int) async -> (ConsumedRecord, RecordTicket)? {
    while true {
      let (found, isFinished, sender) = state.withLock {
        state -> ((ConsumedRecord, RecordTicket)?, Bool, CheckedContinuation<Void, Never>?) in
        let found = state.lanes[lane].queue.popFirst()
        guard found != nil, state.full == lane else { return (found, state.isFinished, nil) }
        defer { state.sender = nil }
        return (found, state.isFinished, state.sender)
      }
      sender?.resume()
      if let found { return found }
      if isFinished { return nil }
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if !state.lanes[lane].queue.isEmpty || state.isFinished { return true }
          state.lanes[lane].worker = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    }
  }

  /// Nothing more comes.
  func finish() {
    let workers = state.withLock { state in
      state.isFinished = true
      return state.lanes.indices.compactMap { lane in
        defer { state.lanes[lane].worker = nil }
        return state.lanes[lane].worker
      }
    }
    for worker in workers { worker.resume() }
  }
}
