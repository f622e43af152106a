internal import CSkeinShims
internal import Glibc

/// A counting semaphore, and threads that wait for it. Raising never waits, and may be done in any thread.
package final class ThreadSignal: @unchecked Sendable {
  // Safe between threads: a POSIX semaphore at a fixed place.
  private let semaphore: UnsafeMutablePointer<sem_t>

  package init() {
    semaphore = .allocate(capacity: 1)
    sem_init(semaphore, 0, 0)
  }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  package func raise() { sem_post(semaphore) }

  package func wait() {
    while sem_wait(semaphore) != 0 {}
  }

  /// Waits at most so long. Returns whether it was raised.
  package func wait(milliseconds: Int) -> Bool {
    var until = timespec()
    clock_gettime(CLOCK_REALTIME, &until)
    let nanoseconds = until.tv_nsec + (milliseconds % 1_000) * 1_000_000
    until.tv_sec += milliseconds / 1_000 + nanoseconds / 1_000_000_000
    until.tv_nsec = nanoseconds % 1_000_000_000
    while sem_timedwait(semaphore, &until) != 0 {
      if errno == ETIMEDOUT { return false }
    }
    return true
  }

  /// Starts a detached thread. Returns 0, or errno.
  package static func thread(_ body: @escaping @Sendable () -> Void) -> Int32 {
    final class Box {
      let body: @Sendable () -> Void
      init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    let box = Unmanaged.passRetained(Box(body))
    let result = skein_thread(
      { raw in
        guard let raw else { return }
        Unmanaged<Box>.fromOpaque(raw).takeRetainedValue().body()
      }, box.toOpaque(), 1 << 20)
    if result != 0 { box.release() }
    return result
  }
}
