import SkeinCore
import Synchronization

/// The results of a sink, put back into the order of its records. Any thread.
final class SinkState: Sendable {
  private struct Slot {
    let timestamp: Int64
    var result: Result<RecordMetadata, SkeinError>?
  }

  private struct State {
    /// Slots of records whose results were not read, in order; the first has the number `first`.
    var slots = FIFO<Slot>()
    var first: UInt64 = 0
    var isFinished = false
    var reader: CheckedContinuation<Void, Never>?
    var senders: [CheckedContinuation<Void, Never>] = []
  }

  private let limit: Int
  private let state = Mutex(State())

  init(limit: Int) { self.limit = limit }

  // MARK: The sender's side

  /// Waits for a place and takes it; returns the record's number.
  func enter(timestamp: Int64) async throws(SkeinError) -> UInt64 {
    while true {
      if Task.isCancelled { throw Self.cancelled }
      let number = try state.withLock { (state) throws(SkeinError) -> UInt64? in
        guard !state.isFinished else {
          throw SkeinError(
            .cancelled, "the sink is finished; nothing was sent. Make another.", outcome: .definite)
        }
        guard state.slots.count < limit else { return nil }
        state.slots.append(Slot(timestamp: timestamp, result: nil))
        return state.first + UInt64(state.slots.count - 1)
      }
      if let number { return number }
      await waitForPlace()
    }
  }

  private static var cancelled: SkeinError {
    SkeinError(.cancelled, "cancelled before the record was taken; nothing was sent", outcome: .definite)
  }

  private func waitForPlace() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isFree = state.withLock { state in
          let isFree = state.slots.count < limit || state.isFinished || Task.isCancelled
          if !isFree { state.senders.append(continuation) }
          return isFree
        }
        if isFree { continuation.resume() }
      }
    } onCancel: {
      wakeSenders()
    }
  }

  private func wakeSenders() {
    let senders = state.withLock { state in
      defer { state.senders.removeAll() }
      return state.senders
    }
    for sender in senders { sender.resume() }
  }

  func finish() {
    let reader = state.withLock { state in
      state.isFinished = true
      return Self.readyReader(&state)
    }
    reader?.resume()
    wakeSenders()
  }

  /// What became of a record; once each.
  func settle(_ number: UInt64, _ result: Result<RecordMetadata, SkeinError>) {
    let reader = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard number >= state.first, number - state.first < UInt64(state.slots.count) else { return nil }
      let at = Int(number - state.first)
      let stamp = state.slots[at].timestamp
      state.slots[at].result = result.map { metadata in
        var metadata = metadata
        metadata.timestamp = stamp
        return metadata
      }
      return Self.readyReader(&state)
    }
    reader?.resume()
  }

  /// The waiting reader, if there is something for it.
  private static func readyReader(_ state: inout State) -> CheckedContinuation<Void, Never>? {
    let hasNext = state.slots.first?.result != nil || (state.isFinished && state.slots.isEmpty)
    guard hasNext, let reader = state.reader else { return nil }
    state.reader = nil
    return reader
  }

  // MARK: The reader's side

  func next() async -> PublishResult? {
    while !Task.isCancelled {
      let (found, isOver) = state.withLock { state -> (PublishResult?, Bool) in
        if let result = state.slots.first?.result {
          _ = state.slots.popFirst()
          state.first += 1
          return (PublishResult(number: state.first - 1, result: result), false)
        }
        return (nil, state.isFinished && state.slots.isEmpty)
      }
      if let found {
        wakeSenders()
        return found
      }
      if isOver { return nil }
      await waitForResult()
    }
    return nil
  }

  private func waitForResult() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          let hasNext = state.slots.first?.result != nil || (state.isFinished && state.slots.isEmpty)
          if hasNext || Task.isCancelled { return true }
          state.reader = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    } onCancel: {
      let reader = state.withLock { state in
        defer { state.reader = nil }
        return state.reader
      }
      reader?.resume()
    }
  }
}
