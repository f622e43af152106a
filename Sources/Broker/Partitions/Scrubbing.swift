import CommitLog
import Logging
import NIOPosix
import SkeinCore

/// When sealed segments are verified (R55): a little each quarter of a second, on the pool of cold reads, at
/// the configured rate; a new round begins no sooner than its interval after the last began.
struct Scrubbing {
  private static let pause = Duration.milliseconds(250)
  private static let pausesPerSecond = 4

  let context: BrokerContext
  let configuration: BrokerConfiguration

  /// Runs until its task is cancelled.
  func run() async {
    guard configuration.scrubBytesPerSecond > 0 else { return }
    let share = max(1, configuration.scrubBytesPerSecond / Self.pausesPerSecond)
    var owed = 0
    var began = ContinuousClock.now
    while (try? await Task.sleep(for: Self.pause, clock: .continuous)) != nil {
      guard ContinuousClock.now >= began else { continue }
      // A step may read more than was due, at most a batch: the next ones wait for it.
      owed = min(owed, 0) + share
      while owed > 0 {
        let due = owed
        guard
          let step = try? await context.workers.readPool.runIfActive({
            [directory = context.workers.directory] in
            try directory.scrubStep(maxBytes: due)
          })
        else { return }
        note(step)
        owed -= step.bytes
        if step.endsRound {
          context.metrics.scrubRounds.add(1)
          began = max(began + .milliseconds(configuration.scrubIntervalMilliseconds), .now)
          break
        }
        if step.bytes == 0, step.damage == nil { break }
      }
    }
  }

  private func note(_ step: ScrubStep) {
    context.metrics.scrubbedBytes.add(step.bytes)
    guard let (key, why) = step.damage else { return }
    context.metrics.scrubDamage.add(1)
    context.logger.error(
      "verification found a damaged segment; the partition is offline",
      metadata: [
        "topic": "\(key.topic)", "partition": "\(key.partition)", "why": "\(why)",
        "cure": "restore the segment from a copy and restart, or accept the loss",
      ])
  }
}
