import NIOCore
import Synchronization

/// A reader that waits for records: fires its action once, on the reader's loop, or never if it is
/// cancelled first. Threading: any thread.
final class ReadWaiter: Sendable {
  private let loop: any EventLoop
  private let done = Atomic<Bool>(false)
  private let action: @Sendable () -> Void

  init(loop: any EventLoop, action: @escaping @Sendable () -> Void) {
    self.loop = loop
    self.action = action
  }

  var isCancelled: Bool { done.load(ordering: .relaxed) }

  func cancel() { done.store(true, ordering: .relaxed) }

  func fire() {
    guard !done.exchange(true, ordering: .relaxed) else { return }
    let action = action
    loop.execute { action() }
  }
}
