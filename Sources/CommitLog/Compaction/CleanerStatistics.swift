package import SkeinCore
internal import Synchronization

/// What the cleaner has done since the start. Threading: any thread.
package final class CleanerStatistics: Sendable {
  package struct Snapshot: Sendable, Equatable {
    /// Rounds that ran to their end, and those that something ended early.
    package var rounds = 0
    package var abandoned = 0
    /// Of segments; a round reads what is new twice, what is old once.
    package var bytesRead = 0
    package var bytesWritten = 0
    package var recordsDropped = 0
    package var tombstonesDropped = 0
    /// Keys too long for the map; their records all stay.
    package var keysTooLong = 0
    /// The highest share of uncleaned bytes in any compacted partition, in thousandths.
    package var dirtiest = 0

    package init() {}
  }

  private let state = Mutex(Snapshot())

  package var snapshot: Snapshot { state.withLock { $0 } }

  func update(_ change: (inout Snapshot) -> Void) { state.withLock { change(&$0) } }
}

/// What one step of the cleaner did.
package struct CleanStep: Sendable {
  package enum Progress: Sendable, Equatable {
    /// No partition is due.
    case idle
    /// The write-behind thread must take a step first: wake it.
    case waiting
    case working
  }

  package var progress: Progress
  package var bytesRead = 0
  package var bytesWritten = 0
  /// The partition that the step took offline, and why (R52).
  package var damage: (key: TopicPartition, why: String)?
  /// A round that ended without reaching its goal, and why; it is tried again later.
  package var abandoned: (key: TopicPartition, why: String)?
}
