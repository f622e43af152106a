import GroupCoordination
import Logging
import NIOCore
import RecordFormat
import SkeinCore

/// From proposed records to durable ones, and back to the coordinator.
extension CoordinatorHost {
  /// How long records wait for a log without room before the coordinator gives up, in nanoseconds.
  static let patience: Int64 = 10_000_000_000
  /// How often such a log is asked again.
  static let retry = TimeAmount.milliseconds(20)
  static let firstPause: Int64 = 100
  static let longestPause: Int64 = 5_000

  /// Appended at the end of this turn of the loop, together with what else the turn brings.
  func schedule(_ append: GroupAppend) {
    do throws(BatchError) {
      try appends.add(append, timestamp: max(seams.time.wallMilliseconds, 0))
    } catch {
      return giveUp(error.fault)
    }
    guard !isFlushScheduled else { return }
    isFlushScheduled = true
    loop.execute { [self] in
      isFlushScheduled = false
      flush()
    }
  }

  /// Gives the log everything that is ready, in order.
  private func flush() {
    guard case .active = phase else { return }
    do throws(BatchError) {
      try appends.close()
      while let batch = appends.first {
        let header = try batch.bytes.withUnsafeBytes { (bytes) throws(BatchError) in
          try BatchHeader(parsing: bytes)
        }
        let tag = nextTag
        nextTag &+= 1
        refused = nil
        appends.begin(tag)
        shard.append([
          (
            key,
            AppendRequest(
              batch: batch.bytes, header: header, generation: 0, currentGeneration: 0, waitsForCommit: true,
              receivedAt: seams.time.monotonicNanoseconds, receiver: self, tag: tag)
          )
        ])
        // A refusal comes at once, because receiver and log are of one loop.
        if let refused { return wait(after: refused) }
        guard case .active = phase else { return }
        appends.taken()
        refusedSince = nil
      }
    } catch {
      giveUp(error.fault)
    }
  }

  /// Where there is only no room at the moment nothing is lost by waiting; what comes next waits behind it.
  private func wait(after fault: Fault) {
    let now = seams.time.monotonicNanoseconds
    let since = refusedSince ?? now
    refusedSince = since
    let isRoomOnly = fault.reason == .overloaded || fault.reason == .diskFull
    guard isRoomOnly, now - since < Self.patience else { return giveUp(fault) }
    guard !isFlushScheduled else { return }
    isFlushScheduled = true
    loop.scheduleTask(in: Self.retry) { [self] in
      isFlushScheduled = false
      flush()
    }
  }

  // MARK: Answers

  func received(_ answer: AppendAnswer) {
    guard let sequence = appends.end(answer.tag) else { return }
    switch answer.result {
    case .committed:
      pause = Self.firstPause
      enqueue(.durable(through: sequence, epoch: coordinator.leaderEpoch))
    case .refused(let fault):
      // Of the batch that is being given, or of one that was under way when the log went offline.
      if sequence == appends.first?.sequence { refused = fault } else { giveUp(fault) }
    }
  }

  func flushAnswers() {}

  /// Nothing more can become durable here (G20): the next coordinator begins with what the log holds.
  private func giveUp(_ fault: Fault) {
    guard case .active = phase else { return }
    seams.logger.error(
      "a group coordinator could not append and begins again",
      metadata: ["partition": "\(key.partition)", "error": "\(fault)", "pause_ms": "\(pause)"])
    counts.failedAppends.add(1)
    phase = .loading
    perform(coordinator.handle(.appendFailed(epoch: coordinator.leaderEpoch), at: now))
    dropCoordinator(Self.notCoordinator)
    let incarnation = incarnation
    loop.scheduleTask(in: .milliseconds(pause)) { [self] in
      if incarnation == self.incarnation { load() }
    }
    pause = min(pause * 2, Self.longestPause)
  }
}
