import GroupCoordination
import SkeinCore

/// Members, one coordinator after another, their log, and a network that loses, doubles and reorders; driven by a seed.
/// After every step the rules are checked; at the end the troubles stop and everything must come to rest.
struct GroupSimulation {
  struct Options {
    var steps = 160
    var breakages: Set<GroupBreakage> = []
    var trace: ((String) -> Void)?
  }

  struct Statistics: Equatable, CustomStringConvertible {
    var grants = 0
    var handovers = 0
    var commits = 0
    var refused = 0
    var expiries = 0
    var restarts = 0
    var takeovers = 0
    var resumes = 0
    var deletions = 0

    mutating func add(_ other: Statistics) {
      grants += other.grants
      handovers += other.handovers
      commits += other.commits
      refused += other.refused
      expiries += other.expiries
      restarts += other.restarts
      takeovers += other.takeovers
      resumes += other.resumes
      deletions += other.deletions
    }

    var description: String {
      "\(grants) grants, \(handovers) handovers, \(commits) commits, \(refused) refused, \(expiries) expiries, \(restarts) restarts, \(takeovers) takeovers, \(resumes) resumes, \(deletions) deletions"
    }
  }

  /// What is on its way.
  enum Flight {
    case request(
      broker: Int, member: Int, memberID: String, GroupRequest, SessionID, holds: [TopicPartition: Int32])
    case streamLost(broker: Int, SessionID)
    case topics(broker: Int)
    case message(member: Int, memberID: String, SessionID, MemberMessage, grants: [TopicPartition: Int32])
    case reply(member: Int, memberID: String, isHeartbeat: Bool, Fault?)
    case staleDurable(broker: Int, through: UInt64, epoch: LeaderEpoch)
    case appendFailed(broker: Int)
  }

  static let key = GroupKey(tenant: "t", name: "g")
  static let names = ["a", "b"]

  let seed: UInt64
  let options: Options
  var random: SeededRandom
  var statistics = Statistics()
  var step = 0
  var now = GroupInstant(monotonic: 1_000_000_000, wall: 1_700_000_000_000)
  var isQuiet = false

  let configuration: GroupConfiguration
  /// Whether members subscribe to different topics and ask for different assignors.
  let isMixed: Bool
  var topics: GroupTopics
  var members: [SimulatedMember] = []
  var brokers: [SimulatedBroker] = []
  /// All appends that are in the log, in order; the first `durable` of them for good.
  var log: [(append: GroupAppend, broker: Int, isReset: Bool)] = []
  var durable = 0
  var durableShadow = ShadowGroup()
  var flights: [Flight] = []
  var sessionOwners: [SessionID: (member: Int, memberID: String)] = [:]
  /// Whose stream the present coordinator knows to be gone, since when.
  var lostAt: [String: (broker: Int, time: Int64)] = [:]
  var lastSession: UInt64 = 0
  var lastToken: UInt64 = 0

  var current: Int { brokers.count - 1 }

  init(seed: UInt64, options: Options = Options()) {
    self.seed = seed
    self.options = options
    random = SeededRandom(seed: seed)
    var configuration = GroupConfiguration()
    configuration.times.session = 20_000
    configuration.times.reconnectGrace = 3_000
    configuration.times.processing = 5_000
    configuration.times.handover = 10_000
    configuration.times.offsetRetention = 10_000
    configuration.times.failures = 1_000
    configuration.breakages = options.breakages
    self.configuration = configuration
    isMixed = random.chance(30)
    topics = Self.topics(a: 1 + random.below(4), b: random.below(3))
    let count = 1 + random.below(4)
    for index in 0..<count {
      members.append(SimulatedMember(index: index, instance: random.chance(25) ? "i\(index)" : nil))
    }
  }

  static func topics(a: Int, b: Int) -> GroupTopics {
    var topics = [GroupTopics.Topic(name: "a", id: TopicID(high: 0, low: 1), partitions: Int32(a))]
    if b > 0 { topics.append(.init(name: "b", id: TopicID(high: 0, low: 2), partitions: Int32(b))) }
    return GroupTopics(topics: topics)
  }

  // MARK: Running

  mutating func run() throws(SimulationFailure) -> Statistics {
    do {
      try startBroker()
      while step < options.steps {
        step += 1
        try takeStep()
        try check()
      }
      try comeToRest()
    } catch {
      throw SimulationFailure(seed: seed, step: step, what: error.description)
    }
    return statistics
  }

  func trace(_ what: @autoclosure () -> String) { options.trace?("step \(step): \(what())") }

  private mutating func takeStep() throws(Broken) {
    switch random.below(100) {
    case 0..<45:
      try deliver()
      try deliver()
    case 45..<60: try flush()
    case 60..<87: act(random.below(members.count))
    case 87..<93: try pass(milliseconds: random.chance(20) ? 1000 + random.below(6000) : random.below(800))
    default: try trouble()
    }
  }

  mutating func pass(milliseconds: Int) throws(Broken) {
    now.monotonic += Int64(milliseconds) * 1_000_000
    now.wall += Int64(milliseconds)
    for broker in brokers.indices where !brokers[broker].isDead { try handle(.timer, by: broker) }
  }

  // MARK: Checks

  /// G10: whoever is a member, as far as the log says for certain, and has a partition, has it by a grant that stands in
  /// the log and in nobody else's name. (That the log names one owner is checked when it is folded.)
  func check() throws(Broken) {
    for member in members {
      guard let profile = durableShadow.profiles[member.memberID], member.epoch >= profile.joinEpoch else {
        continue
      }
      for (partition, grant) in member.owned where durableShadow.grant(member.memberID, partition) != grant {
        let other = durableShadow.assignments.first { $0.value.grantEpoch(partition) != nil }?.key ?? "nobody"
        throw Broken(
          "G10: \(member.memberID) has \(partition.partition) by grant \(grant), the log says \(other)")
      }
    }
  }
}

/// A promise that did not hold, and how to see it again.
struct SimulationFailure: Error, CustomStringConvertible {
  let seed: UInt64
  let step: Int
  let what: String

  var description: String {
    "seed \(seed), step \(step): \(what) (replay: SKEIN_SIMULATION_SEED=\(seed) swift test --filter GroupSimulationTests)"
  }
}
