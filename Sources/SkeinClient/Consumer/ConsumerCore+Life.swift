import SkeinCore
import Synchronization
import Wire

/// The consumer's life: its opening, its streams, its end.
extension ConsumerCore {
  /// Waits until the broker has taken the member, or the supervisor gave up. When the task is cancelled meanwhile,
  /// the member leaves, in its own time.
  func opened() async throws(SkeinError) {
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let known = state.withLock { state in
          if state.outcome == nil { state.opening = continuation }
          return state.outcome
        }
        if let known { continuation.resume(returning: known) }
      }
    } onCancel: {
      let error = SkeinError(
        .cancelled, "the task was cancelled before the broker had taken the member", outcome: .definite)
      if settleOpening(.failure(error)) { apply { $0.close(temporarily: false, now: $1) } }
    }
    try result.get()
  }

  /// The broker has taken the member once.
  var wasOpened: Bool { state.withLock { if case .success? = $0.outcome { true } else { false } } }

  /// The first one counts. Returns whether it was this.
  @discardableResult
  func settleOpening(_ result: Result<Void, SkeinError>) -> Bool {
    let (isFirst, opening) = state.withLock { state in
      let isFirst = state.outcome == nil
      if isFirst { state.outcome = result }
      defer { state.opening = nil }
      return (isFirst, state.opening)
    }
    opening?.resume(returning: result)
    return isFirst
  }

  /// Waits until nothing more will happen.
  func closed() async {
    await withCheckedContinuation { continuation in
      let isOver = state.withLock { state in
        if !state.machine.isOver { state.closers.append(continuation) }
        return state.machine.isOver
      }
      if isOver { continuation.resume() }
    }
  }

  /// The end: loops are told why.
  func fail(_ error: SkeinError?) {
    // First: the end wakes whoever cancels the consumer's tasks, and that would be the opening's answer then.
    settleOpening(.failure(error ?? Self.closedError))
    apply { machine, now in
      guard !machine.isOver else { return }
      machine.failure = error
      machine.end(now: now)
    }
  }

  // MARK: The stream's side

  var isOver: Bool { look { $0.isOver } }

  func streamOpened(_ outlet: Outlet) {
    state.withLock { state in
      state.outlet = outlet
      state.isReconnecting = false
    }
    apply { $0.opened(now: $1) }
  }

  /// - Returns: what follows.
  func streamEnded(_ error: SkeinError?) -> StreamContinuation {
    let isOurs = state.withLock { state in
      defer { state.isReconnecting = false }
      state.outlet = nil
      return state.isReconnecting
    }
    let isFenced = error.map { Self.fences.contains($0.reason) } ?? false
    apply { machine, now in
      machine.streamLost(now: now)
      if isFenced, let error { machine.fenced(error) }
    }
    return isOurs ? .atOnce : isFenced ? .anew : .afterBackoff
  }

  /// What the broker says to a member that is none any more (G4).
  private static let fences: Set<String> = [
    Reason.memberExpired.name, Reason.unknownMember.name, Reason.staleMemberEpoch.name,
  ]
}
