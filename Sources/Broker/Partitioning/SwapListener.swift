import SkeinCore
import Synchronization
import Wire

/// Hears how a swap goes: a stream of the operator, or nobody. Any thread.
final class SwapListener: Sendable {
  /// A closure in a struct of its own, as everywhere.
  private struct Sink: Sendable {
    let progress: @Sendable (BindProgress) -> Void
    let end: @Sendable (Fault?) -> Void
  }
  private let sink: Sink
  private let hasLeft = Atomic<Bool>(false)
  private let time: any TimeSource
  private let begun: Int64

  init(
    time: any TimeSource, progress: @escaping @Sendable (BindProgress) -> Void,
    end: @escaping @Sendable (Fault?) -> Void
  ) {
    self.time = time
    begun = time.monotonicNanoseconds
    sink = Sink(progress: progress, end: end)
  }

  static func nobody(_ time: any TimeSource) -> SwapListener {
    SwapListener(time: time, progress: { _ in }, end: { _ in })
  }

  /// Nobody listens any more; before the commit that ends the swap.
  func leave() { hasLeft.store(true, ordering: .releasing) }
  var isAbandoned: Bool { hasLeft.load(ordering: .acquiring) }

  func tell(_ phase: BindPhase, _ generation: UInt32, _ more: (inout BindProgress) -> Void = { _ in }) {
    guard !isAbandoned else { return }
    var progress = BindProgress(phase: phase, generation: generation)
    progress.elapsedUs = UInt64(max(0, time.monotonicNanoseconds - begun) / 1_000)
    progress.brokers = 1
    progress.brokersDone = 1
    more(&progress)
    sink.progress(progress)
  }

  /// Once, last.
  func end(_ fault: Fault?) {
    guard !isAbandoned else { return }
    sink.end(fault)
  }
}
