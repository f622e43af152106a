import GroupCoordination
import SkeinCore

/// A member as a client library would be, by the rules of `AssignmentMessage`: it knows what it was told, and nothing of
/// the coordinator.
struct SimulatedMember {
  enum Phase: Equatable {
    case out
    case joining
    case member
    /// The process is gone.
    case dead
  }

  enum Mood: Equatable {
    case well
    /// Its network lives, its application does nothing any more.
    case hung
    /// It works and never gives anything back.
    case stubborn
    /// It does not run at all, and its stream is still there.
    case paused
  }

  let index: Int
  let instance: String?
  var phase = Phase.out
  var mood = Mood.well
  var subscription = Subscription(names: GroupSimulation.names)
  var assignor: String?
  var joins = 0
  var memberID = ""
  /// Its stream, and to which broker that goes.
  var session: SessionID?
  var broker = 0
  var epoch: Int32 = 0
  var joinEpoch: Int32 = 0
  /// What it reads and commits, each with the grant that the coordinator's records named when it was told.
  var owned: [TopicPartition: Int32] = [:]
  var releasing: Set<TopicPartition> = []
  var positions: [TopicPartition: Int64] = [:]

  init(index: Int, instance: String?) {
    self.index = index
    self.instance = instance
  }

  func subscribes(_ topic: String) -> Bool {
    subscription.names.contains(topic) || (topic == "b" && subscription.patterns == ["b.*"])
  }

  mutating func drop() {
    owned = [:]
    releasing = []
    epoch = 0
    joinEpoch = 0
    phase = .out
    memberID = ""
  }

  /// - Parameter grants: which grant each partition was, for the checks only.
  mutating func apply(_ message: AssignmentMessage, grants: [TopicPartition: Int32]) {
    guard phase == .joining || phase == .member, message.epoch >= epoch else { return }
    if message.joinEpoch != joinEpoch {
      owned = [:]
      epoch = 0
      joinEpoch = message.joinEpoch
    }
    for partition in owned.keys
    where !message.partitions.contains(partition) && !message.revoke.contains(partition) {
      owned[partition] = nil
    }
    if message.epoch > epoch {
      for partition in message.partitions where owned[partition] == nil {
        owned[partition] = grants[partition] ?? 0
      }
    }
    releasing = message.revoke.filter { owned[$0] != nil }
    epoch = message.epoch
    phase = .member
  }

  /// The application has come to an end with what is to be given back.
  mutating func release() {
    for partition in releasing { owned[partition] = nil }
    releasing = []
  }
}
