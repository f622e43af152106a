import SkeinCore
import Wire

/// A member of a consumer group, without I/O, clock, lock or task: what comes from the broker, from the application and
/// from the clock goes in; `effects` says what is to be done. ADR 0011 is the contract.
///
/// What it promises, and what the simulation checks:
/// - it delivers of a partition only while it has it, in order, without a gap or a repeat, also across streams and
///   seeks;
/// - it gives a partition back when nothing of it is at work any more, and its last commit is answered (or out of time);
/// - an automatic commit never covers a record that is not processed;
/// - it holds no more than the window and one message;
/// - it stops when it has not heard the broker for the session time by its own clock (G12), and drops everything
///   without committing when it is told that it is a member no more.
struct ConsumerMachine: Sendable {
  struct Options: Sendable {
    var group: String
    var instanceID = ""
    var processID = ""
    var clientID = ""
    var labels: [String: String] = [:]
    var assignor = ""
    var processingMilliseconds: Int64 = 300_000
    var start = GroupStart.earliest
    var outOfRange = OutOfRangePolicy.fail
    var maxMessageBytes = 256 << 10
    var window = CreditWindow.Amount(records: 1_000_000, bytes: 8 << 20)
    /// Nanoseconds; nil: only when asked.
    var commitInterval: Int64? = 1_000_000_000
    /// A loop's records are processed when the application says so, one by one, not when it asks for the next.
    var acknowledges = false
    /// With so many records of a partition that are not all done, nothing more of it is delivered.
    var maxPending = 10_000
    /// What a caller waits for a commit, in nanoseconds.
    var commitPatience: Int64 = 30_000_000_000
    var closeTimeout: Int64 = 10_000_000_000
    /// The application wants to be told.
    var callsAssigned = false
    var callsRevoked = false
    var callsLost = false
  }

  enum Phase: Sendable, Equatable {
    /// No member; the next stream joins with a new id.
    case out
    /// The join is under way, or its first assignment; a further stream repeats it.
    case joining
    /// It has an epoch; a further stream resumes.
    case member
    /// It said that it leaves, and waits for the stream's end.
    case leaving
    /// Nothing follows.
    case over
  }

  /// A call of the application's, one at a time; its end is told by `called`.
  enum Call: Sendable, Equatable {
    case assigned([ConsumedPartition], grants: [UInt64])
    case revoked([ConsumedPartition], grants: [UInt64])
    case lost([ConsumedPartition])
  }

  enum Effect: Sendable {
    case send(SubscribeRequest)
    /// End the stream; another one follows at once.
    case reconnect
    /// Nothing more will be sent on this stream.
    case sendEnd
    case call(Call)
    /// Who waits for a commit may go on.
    case settled(waiter: UInt64, SkeinError?)
    /// A commit failed for good for which nobody waits.
    case commitFailed(ConsumedPartition, SkeinError)
    /// The policy moved a partition whose position was outside the log.
    case reset(ConsumedPartition)
    /// Commits that were answered well.
    case committed(Int)
    /// The membership was lost.
    case fenced
  }

  struct Waiter: Sendable {
    let id: UInt64
    /// What it waits for, by grant.
    var needs: [UInt64: Int64]
    var failure: SkeinError?
    /// What was the matter at the last try.
    var lastError: SkeinError?
    let deadline: Int64
  }

  struct InFlight: Sendable {
    let id: UInt64
    let items: [(slot: Int, grant: UInt64, want: ConsumerSlot.Want)]
  }

  let options: Options
  let random: any RandomSource
  var topics: [String]
  var patterns: [String]
  /// The subscription was changed since the member joined: heartbeats say so until the broker must know.
  var subscriptionChanged = false
  var effects: [Effect] = []
  var phase = Phase.out
  /// Set by `close`: nothing is delivered, all is given back, then it leaves.
  var isClosing = false
  var closeDeadline: Int64 = .max
  var leavesTemporarily = false

  var memberID = ""
  var epoch: Int32 = 0
  var joinEpoch: Int32 = 0
  /// There is a stream, and it was opened.
  var isConnected = false
  /// The broker has answered `joined` on this stream.
  var isSettled = false
  /// The broker said that it goes away.
  var isDraining = false
  var openedAt: Int64 = 0
  /// When the broker was last heard (G12), in monotonic nanoseconds.
  var heardAt: Int64 = 0
  var heartbeatInterval: Int64 = 5_000_000_000
  var session: Int64 = 45_000_000_000
  var lastHeartbeat: Int64 = 0
  var ownedChanged = false
  /// The application took something, or asked for time, since the last heartbeat.
  var hasAdvanced = false

  /// By index; nil: free. Indices are used again, grants are not.
  var slots: [ConsumerSlot?] = []
  var free: [Int] = []
  var index: [ConsumedPartition: Int] = [:]
  /// Who may have something to deliver, in turn.
  var ready = FIFO<Int>()
  /// Something may be on its way back, or wait to be asked for again; else the clock need not look through all.
  var mayRelease = false
  var mayRetry = false
  var lastGrant: UInt64 = 0
  var lastLease: UInt64 = 0
  var credit: CreditWindow
  /// Numbers of seeks on this stream, of partitions that had one.
  var seeks: [ConsumedPartition: UInt32] = [:]
  var lag: [ConsumedPartition: ConsumerLag] = [:]
  /// Why it is over, if not by `close`: told to everybody who asks for records.
  var failure: SkeinError?

  var inFlight: InFlight?
  var lastCommitID: UInt64 = 0
  var waiters: [Waiter] = []
  var nextAutoCommit: Int64 = 0
  var commitRetryAt: Int64 = 0

  /// Without an assignment for this long the join is repeated on another stream.
  static let joinPatience: Int64 = 10_000_000_000
  static let commitRetry: Int64 = 200_000_000
  static let failureRetry: Int64 = 1_000_000_000
  /// What one commit message takes (the contract's).
  static let maxCommitOffsets = 10_000

  init(options: Options, topics: [String], patterns: [String], random: any RandomSource) {
    self.options = options
    self.topics = topics
    self.patterns = patterns
    self.random = random
    credit = CreditWindow(options.window)
  }

  /// Takes out what is to be done.
  mutating func takeEffects() -> [Effect] {
    guard !effects.isEmpty else { return [] }
    defer { effects.removeAll(keepingCapacity: true) }
    return effects
  }

  /// Nothing more is to be had.
  var isOver: Bool { phase == .over }

  /// `take` may find something.
  var hasNews: Bool { isClosing || !ready.isEmpty }

  /// The partitions that it has, also those that it is giving back.
  var owned: [ConsumedPartition] { index.keys.sorted() }

  // MARK: Clock

  mutating func tick(now: Int64) {
    if isClosing, now >= closeDeadline { return end(now: now) }
    expireIfSilent(now: now)
    guard phase != .over else { return }
    if isConnected, phase == .joining, now - openedAt >= Self.joinPatience { reconnect() }
    if isConnected, phase == .member, !isSettled, now - openedAt >= Self.joinPatience { reconnect() }
    if mayRetry { retryFailed(now: now) }
    if let interval = options.commitInterval, now >= nextAutoCommit {
      nextAutoCommit = now + interval
      wantProcessed()
    }
    expireWaiters(now: now)
    pump(now: now)
    release(now: now)
    if phase == .member, isSettled, now - lastHeartbeat >= heartbeatPeriod { heartbeat(now: now) }
  }

  /// Short deadlines want more words.
  private var heartbeatPeriod: Int64 {
    min(heartbeatInterval, options.processingMilliseconds * 1_000_000 / 3)
  }

  /// G12: who was not heard for the session time stops by itself. Returns whether it did.
  @discardableResult
  mutating func expireIfSilent(now: Int64) -> Bool {
    guard phase == .member, now - heardAt > session else { return false }
    loseMembership(
      SkeinError(
        .memberExpired,
        "the broker was not heard for \(session / 1_000_000_000) s; the partitions may be somebody else's by now",
        metadata: ["cause": "silence"]))
    reconnect()
    return true
  }

  mutating func reconnect() {
    if isConnected { effects.append(.reconnect) }
    isConnected = false
    isSettled = false
  }

  // MARK: Slots

  /// The slot of a grant that is still in force.
  func slot(_ at: Int, _ grant: UInt64) -> Int? { slots[at]?.grant == grant ? at : nil }

  /// Those that satisfy the condition.
  func slots(where condition: (ConsumerSlot) -> Bool) -> [Int] {
    slots.indices.filter { slots[$0].map(condition) ?? false }
  }

  mutating func add(_ partition: ConsumedPartition, topicID: String) -> UInt64 {
    lastGrant += 1
    let slot = ConsumerSlot(
      partition, topicID: topicID, grant: lastGrant, isStarting: options.callsAssigned)
    if let at = free.popLast() {
      slots[at] = slot
      index[partition] = at
    } else {
      index[partition] = slots.count
      slots.append(slot)
    }
    return lastGrant
  }

  /// Drops a partition with all that waits of it; commits of it are answered by `failure`, or counted as done.
  mutating func remove(_ at: Int, _ failure: SkeinError?) {
    guard let slot = slots[at] else { return }
    dropQueue(at)
    slots[at] = nil
    free.append(at)
    index[slot.partition] = nil
    lag[slot.partition] = nil
    settle(grant: slot.grant, upTo: .max, failure)
  }

  /// What was received and not taken is given up; its credit is granted again.
  mutating func dropQueue(_ at: Int) {
    while let item = slots[at]?.queue.popFirst() {
      if case .chunk(let chunk) = item { credit.taken(chunk.charge) }
    }
  }

  /// Lists the slot when there is something to deliver.
  mutating func list(_ at: Int) {
    guard let slot = slots[at], slot.isDeliverable, !slot.isListed, slot.pending.count < options.maxPending
    else { return }
    slots[at]?.isListed = true
    ready.append(at)
  }

  mutating func grantCredit() {
    guard isSettled || phase == .joining, let amount = credit.nextGrant() else { return }
    effects.append(.send(SubscribeRequest(credit: Self.wire(amount))))
  }

  static func wire(_ amount: CreditWindow.Amount) -> ReadCredit {
    ReadCredit(messages: UInt64(amount.records), bytes: UInt64(amount.bytes))
  }

  func wire(_ slots: [ConsumerSlot]) -> [TopicPartitions] {
    var topics: [String: TopicPartitions] = [:]
    for slot in slots {
      topics[
        slot.partition.topic, default: TopicPartitions(topic: slot.partition.topic, topicID: slot.topicID)
      ]
      .partitions.append(slot.partition.partition)
    }
    return topics.values.sorted { $0.topic < $1.topic }.map {
      TopicPartitions(topic: $0.topic, partitions: $0.partitions.sorted(), topicID: $0.topicID)
    }
  }
}
