import Synchronization

/// True until somebody clears it. Any thread, lock-free.
final class UsableFlag: Sendable {
  private let value = Atomic<Bool>(true)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func clear() { value.store(false, ordering: .relaxed) }
}
