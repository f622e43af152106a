import CommitLog
import Logging
import NIOPosix
import SkeinCore

/// When the cleaner works (ADR 0012): one step after another on a thread of its own, at most at the
/// configured rate and at most half of the time, so that appends and reads keep disk and processor.
struct Compacting {
  /// What one step reads, in bytes; a step is not interrupted.
  private static let stepBytes = 1 << 20
  /// The write-behind thread was asked for something: looked at again after this, and then ever later, as
  /// on a full disk it does nothing.
  private static let patience = Duration.milliseconds(5)...Duration.milliseconds(250)

  let context: BrokerContext
  let configuration: BrokerConfiguration

  /// Runs until its task is cancelled.
  func run() async {
    guard configuration.compactionBytesPerSecond > 0 else { return }
    var pause = Duration.milliseconds(configuration.compactionIntervalMilliseconds)
    var isWaiting = false
    while (try? await Task.sleep(for: pause, clock: .continuous)) != nil {
      let begun = ContinuousClock.now
      let step: CleanStep
      do {
        step = try await context.workers.clean(maxBytes: Self.stepBytes)
      } catch {
        // The directory is offline, and that was told, or the broker stops.
        return
      }
      note(step)
      let taken = ContinuousClock.now - begun
      context.metrics.compactionMicroseconds.add(Int(taken / .microseconds(1)))
      defer { isWaiting = step.progress == .waiting }
      switch step.progress {
      case .idle: pause = .milliseconds(configuration.compactionIntervalMilliseconds)
      case .waiting:
        context.workers.notifyWriteBehind()
        pause = min(isWaiting ? pause * 2 : Self.patience.lowerBound, Self.patience.upperBound)
      case .working:
        let bytes = Double(step.bytesRead + step.bytesWritten)
        pause = max(.seconds(bytes / Double(configuration.compactionBytesPerSecond)), taken)
      }
    }
  }

  private func note(_ step: CleanStep) {
    if let (key, why) = step.abandoned {
      context.logger.info(
        "a compaction was given up and will be tried again",
        metadata: ["topic": "\(key.topic)", "partition": "\(key.partition)", "why": "\(why)"])
    }
    guard let (key, why) = step.damage else { return }
    context.logger.error(
      "compaction found a damaged segment; the partition is offline",
      metadata: [
        "topic": "\(key.topic)", "partition": "\(key.partition)", "why": "\(why)",
        "cure": "restore the segment from a copy and restart, or accept the loss",
      ])
  }
}
