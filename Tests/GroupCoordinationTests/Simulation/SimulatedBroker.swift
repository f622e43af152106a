import GroupCoordination
import SkeinCore

/// One coordinator in one leadership, with what its edge would know.
struct SimulatedBroker {
  var coordinator: GroupCoordinator
  /// The records that it has seen or proposed, whether or not they are durable.
  var shadow: ShadowGroup
  /// How many of its appends are in the log, and how many durable.
  var logged: [GroupAppend] = []
  var isLeader = true
  /// The process is gone: whatever was on its way to it is lost.
  var isDead = false
  var failureTold = false
  /// Joins that are handled together, before whatever comes next.
  var gathered: [(request: JoinRequest, session: SessionID, token: ReplyToken)] = []
  /// Streams that it was told are gone; nothing of theirs comes after that.
  var lost: Set<SessionID> = []
  /// On which stream each member was heard last.
  var heard: [String: SessionID] = [:]
  var open: [ReplyToken: Expectation] = [:]

  struct Expectation {
    var member: Int
    var memberID: String
    var isHeartbeat = false
    var commits: [Commit] = []
  }

  /// What the rules say about one offset of a commit, judged when it arrived.
  struct Commit {
    var partition: TopicPartition
    var offset: Offset
    var mustPass: Bool
  }
}
