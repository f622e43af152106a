import Synchronization

/// Lets changes of one topic pass one at a time, in the order in which they came; changes of different
/// topics do not wait for each other. What waits is bounded by `AdminQueue`. Threading: any task.
final class TopicLanes: Sendable {
  struct Key: Hashable, Sendable {
    var tenant: TenantName
    var name: String
  }

  /// Who waits in each lane that is in use; a lane without waiters has an empty list.
  private let lanes = Mutex<[Key: [CheckedContinuation<Void, Never>]]>([:])

  /// Not cancellable: a change that was begun is carried to its end.
  func alone<R: Sendable>(in key: Key, _ body: () async throws -> R) async throws -> R {
    await enter(key)
    defer { leave(key) }
    return try await body()
  }

  private func enter(_ key: Key) async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let isFree = lanes.withLock { lanes in
        guard lanes[key] != nil else {
          lanes[key] = []
          return true
        }
        lanes[key]?.append(continuation)
        return false
      }
      if isFree { continuation.resume() }
    }
  }

  private func leave(_ key: Key) {
    let next = lanes.withLock { lanes -> CheckedContinuation<Void, Never>? in
      guard let waiting = lanes[key], !waiting.isEmpty else {
        lanes[key] = nil
        return nil
      }
      return lanes[key]?.removeFirst()
    }
    next?.resume()
  }
}
