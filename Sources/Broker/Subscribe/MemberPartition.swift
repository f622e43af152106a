import CommitLog
import NIOCore
import SkeinCore

/// One partition of a member, on its stream.
///
/// `@unchecked Sendable`: touched on the stream's event loop only.
final class MemberPartition: @unchecked Sendable {
  enum Phase {
    /// Where it begins is being found out. → running, failed
    case starting
    /// Records are sent, unless its cursor is held. → failed
    case running
    /// An error was told; waits for a seek. → running
    case failed
  }

  let cursor: PartitionCursor
  var phase = Phase.starting
  /// To be given back: nothing more is sent. What was sent may still be committed.
  var isRevoking = false
  var isPaused = false
  /// The newest seek that was taken; on this stream, also over several grants.
  var seek: UInt32 = 0
  /// Where the member said that it stands, when it came back.
  let resumeAt: Offset?
  /// As far as this stream knows; nil: nothing, or it is not known yet.
  var committed: Offset?
  /// Of single records; nil until it is known from where on they count.
  var acks: AckTracker?
  /// The highest offset that was asked to be committed for `acks`.
  var ackAsked: Int64 = -1
  /// The first record that this stream sends, or would.
  var began = Offset.zero
  /// The newest fenced generation whose cut it has passed on this stream.
  var passedFence: UInt32 = 0
  /// It waits at a cut.
  var fencedSince: NIODeadline?
  /// Where the group stands is asked for.
  var isFetching = false
  /// That its store does not answer was told already.
  var isTroubleTold = false

  var key: TopicPartition { cursor.key }
  var topicName: String { cursor.topicName }

  init(topicName: String, key: TopicPartition, resumeAt: Offset?) {
    cursor = PartitionCursor(topicName: topicName, key: key, offset: .zero, lastEpoch: nil)
    self.resumeAt = resumeAt
  }

  /// Nothing of it is to be sent.
  var isHeld: Bool { isPaused || isRevoking || phase != .running }

  /// Behind which no record was sent. Nil: none was, also not on an earlier stream.
  var sentEnd: Offset? {
    if phase == .starting { return resumeAt }
    return cursor.offset > began || resumeAt != nil ? cursor.offset : nil
  }

  /// What is processed and not asked to be committed yet.
  var ackToCommit: Offset? {
    guard let acks, acks.isUsed, acks.isExact, acks.processed > max(ackAsked, committed?.rawValue ?? 0) else {
      return nil
    }
    return Offset(acks.processed)
  }

  func didCommit(_ offset: Offset) {
    committed = max(committed ?? .zero, offset)
    acks?.commit(offset.rawValue)
  }
}
