import SkeinCore
import Synchronization

/// Begins the broker's graceful stop on a client's order, once. Threading: any thread.
final class DrainSwitch: Sendable {
  let deadlineMilliseconds: Int64
  private let health: HealthState
  private let hasBegun = Atomic<Bool>(false)
  /// A closure in a struct of its own, as everywhere behind locks.
  private struct Order: Sendable { let run: @Sendable () -> Void }
  private let order: Order

  /// - Parameter order: asks whoever owns the broker to stop it.
  init(health: HealthState, deadlineMilliseconds: Int64, order: @escaping @Sendable () -> Void) {
    self.health = health
    self.deadlineMilliseconds = deadlineMilliseconds
    self.order = Order(run: order)
  }

  /// True for the call that began it.
  func begin() -> Bool {
    guard health.phase.rawValue < HealthState.Phase.draining.rawValue || health.phase == .failed,
      !hasBegun.exchange(true, ordering: .acquiringAndReleasing)
    else { return false }
    health.enter(.draining)
    order.run()
    return true
  }
}
