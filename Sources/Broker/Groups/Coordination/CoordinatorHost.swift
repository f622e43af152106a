import CommitLog
import GroupCoordination
import Logging
import NIOCore
import RecordFormat
import SkeinCore

/// One partition of `__groups` and the coordinator of its groups: the thin shell that carries out what the state
/// machine says (style habit 1). It appends to its partition and to no other, and nobody else appends there.
///
/// Confined to the event loop of its partition's shard, so that an append is a call. `@unchecked Sendable`: all state
/// is touched on `loop` only.
final class CoordinatorHost: AppendReceiver, @unchecked Sendable {
  enum Phase {
    /// The log is read; may become `active` or `failed`.
    case loading
    /// May become `loading` again, when an append failed (G20), or `closed`.
    case active
    /// The log cannot be read; `retry` makes it `loading`.
    case failed(Fault)
    /// The broker stops. The end.
    case closed
  }

  /// What all hosts of a broker share.
  struct Seams: Sendable {
    var configuration: GroupConfiguration
    var time: any TimeSource
    var logger: Logger
    /// Find out what a group's subscriptions stand for (`GroupOutput.resolve`).
    var resolve: @Sendable (GroupKey, Subscription) -> Void
    /// Whether a topic of this id exists: offsets of others are removed when the log was read.
    var existingTopics: @Sendable () -> Set<TopicID>
  }

  let key: TopicPartition
  let shard: PartitionShard
  let seams: Seams
  let counts = CoordinatorCounts()
  /// Succeeds when the log was read for the first time, or could not be.
  let firstLoad: EventLoopPromise<Void>

  var phase = Phase.loading
  var coordinator: GroupCoordinator
  /// Counts the coordinators that were here: what an append of an earlier one says is not for a later one.
  var incarnation = 0
  var appends = GroupAppender()
  /// Never used twice, also not by later coordinators.
  var nextTag: UInt64 = 0
  /// What the log said to the batch that it is being given.
  var refused: Fault?
  var isFlushScheduled = false
  /// Since when the log has had no room, in monotonic nanoseconds.
  var refusedSince: Int64?
  /// Until the next coordinator begins, in milliseconds; grows while none gets far.
  var pause: Int64 = CoordinatorHost.firstPause
  var loadBegan: Int64 = 0
  private var events = CircularBuffer<GroupEvent>()
  private var joins = GatheredJoins()
  var postponed = Postponed()
  private var isHandling = false
  private var outbox = MemberOutbox()
  private var waiting: [ReplyToken: GroupAnswer] = [:]
  private var nextToken: UInt64 = 0
  private var sinks: [SessionID: any MemberSink] = [:]
  private var timer: Scheduled<Void>?
  /// Monotonic nanoseconds; `.max` = no timer.
  private var timerAt = Int64.max

  var loop: any EventLoop { shard.loop }
  var eventLoop: any EventLoop { shard.loop }

  init(key: TopicPartition, shard: PartitionShard, seams: Seams) {
    self.key = key
    self.shard = shard
    self.seams = seams
    firstLoad = shard.loop.makePromise()
    coordinator = GroupCoordinator(configuration: seams.configuration, leaderEpoch: LeaderEpoch(0))
  }

  // MARK: What comes

  /// Answered once, when everything that was decided before is durable. What can be refused without the coordinator is.
  func ask(_ request: GroupRequest, _ answer: GroupAnswer) {
    if let refusal = refusal(of: request) {
      outbox.add(answer, .failure(refusal))
      return drain()
    }
    let token = ReplyToken(nextToken)
    nextToken &+= 1
    waiting[token] = answer
    if case .join(let join, let session) = request {
      gather((join, session, token))
    } else {
      enqueue(.request(request, token))
    }
  }

  private func gather(_ join: GatheredJoins.Join) {
    if joins.isEmpty { loop.execute { self.releaseJoins() } }
    joins.add(join)
    if joins.isFull { releaseJoins() }
  }

  private func releaseJoins() {
    guard !joins.isEmpty else { return }
    events.append(contentsOf: joins.take())
    drain()
  }

  /// A new stream of a member; its session was never used before.
  func attach(_ sink: any MemberSink, _ session: SessionID) { sinks[session] = sink }

  /// The stream is there no more; nothing of that session comes after it.
  func lost(_ session: SessionID) {
    guard sinks[session] != nil else { return }
    guard case .active = phase else {
      sinks[session] = nil
      return
    }
    enqueue(.streamLost(session))
  }

  /// The stream was heard.
  func alive(_ session: SessionID) { enqueue(.streamAlive(session)) }

  /// Another event; ignored while there is no coordinator.
  func enqueue(_ event: GroupEvent) {
    if putOff(event) { return }
    if !joins.mayBeOvertaken(by: event) { releaseJoins() }
    events.append(event)
    drain()
  }

  /// Why a request is not even shown to the coordinator.
  private func refusal(of request: GroupRequest) -> Fault? {
    switch phase {
    case .loading:
      return Fault(
        .coordinatorLoading, "the coordinator of the group is still reading its log; try again in 100 ms",
        retryAfterMilliseconds: 100)
    case .failed(let fault): return fault
    case .closed:
      return Fault(.draining, "the broker is stopping; connect again", retryAfterMilliseconds: 1_000)
    case .active: break
    }
    if appends.heldBytes > GroupAppender.maximumHeldBytes {
      return Fault(
        .overloaded,
        "\(appends.heldBytes) bytes of the group coordinator wait for the log; retry after 100 ms",
        retryAfterMilliseconds: 100)
    }
    if request.needsRoom, isDiskFull {
      return Fault(
        .diskFull,
        "the broker's disk is full, so the group cannot change and nothing can be committed; free space or shorten retention, then try again; members keep what they have",
        retryAfterMilliseconds: 1_000)
    }
    switch request {
    case .join(_, let session), .heartbeat(_, let session):
      // A stream that was told to be lost would never be lost again.
      guard sinks[session] == nil else { return nil }
      return Fault(.notCoordinator, "the stream of the member has ended; connect again")
    default: return nil
    }
  }

  // MARK: Turns

  /// What an answer leads to comes back as an event, so: events and deliveries in turn, never one within the other.
  private func drain() {
    guard !isHandling else { return }
    isHandling = true
    defer { isHandling = false }
    while true {
      while let event = events.popFirst() { handle(event) }
      guard !outbox.isEmpty else { return }
      outbox.take(on: loop)()
    }
  }

  private func handle(_ event: GroupEvent) {
    guard case .active = phase else { return refuse(event) }
    let effects = coordinator.handle(event, at: now)
    if let append = effects.append {
      counts.count(append)
      schedule(append)
    }
    perform(effects)
    switch event {
    case .streamLost(let session): sinks[session] = nil
    case .topicDeleted, .expireOffsets:
      // A part at a time, so that other groups are served in between.
      let incarnation = incarnation
      if effects.append != nil {
        loop.execute { [self] in if incarnation == self.incarnation { enqueue(event) } }
      }
    default: break
    }
  }

  private func refuse(_ event: GroupEvent) {
    let tokens: [ReplyToken]
    switch event {
    case .request(_, let token): tokens = [token]
    case .joins(let joins): tokens = joins.map(\.token)
    default: return
    }
    for token in tokens {
      if let answer = waiting.removeValue(forKey: token) { outbox.add(answer, .failure(Self.notCoordinator)) }
    }
  }

  func perform(_ effects: GroupEffects) {
    for output in effects.outputs {
      switch output {
      case .reply(let token, let result):
        if let answer = waiting.removeValue(forKey: token) { outbox.add(answer, result) }
      case .push(let session, let message):
        if let sink = sinks[session] { outbox.add(message, to: sink) }
      case .resolve(let group, let subscription): seams.resolve(group, subscription)
      case .topicsRefused(let group, let fault):
        seams.logger.warning(
          "the topics of a group are too many; it goes on with those it had",
          metadata: ["tenant": "\(group.tenant)", "group": "\(group.name)", "error": "\(fault.message)"])
      case .memberRemoved(let group, let member, let client, let why):
        seams.logger.info(
          "a member was removed from its group",
          metadata: [
            "tenant": "\(group.tenant)", "group": "\(group.name)", "member": "\(member)",
            "client": "\(client)",
            "why": "\(why)",
          ])
      }
    }
    arm(effects.nextDeadline)
  }

  /// An earlier timer stays: it looks once for nothing, which is cheaper than a new one for each event.
  private func arm(_ deadline: Int64?) {
    guard let deadline, deadline < timerAt else { return }
    timer?.cancel()
    timerAt = deadline
    let wait = max(deadline - seams.time.monotonicNanoseconds, 1_000_000)
    timer = loop.scheduleTask(in: .nanoseconds(wait)) { [weak self] in
      guard let self else { return }
      timerAt = .max
      if isDiskFull { return arm(seams.time.monotonicNanoseconds + Self.diskFullPause.nanoseconds) }
      enqueue(.timer)
    }
  }

  // MARK: Ends

  /// Everything that waits is refused; streams stay, their members are heard again by the next coordinator.
  func dropCoordinator(_ fault: Fault) {
    incarnation += 1
    timer?.cancel()
    timerAt = .max
    joins = GatheredJoins()
    (postponed.topics, postponed.deletions) = ([:], [])
    appends = GroupAppender()
    refusedSince = nil
    let answers = waiting
    waiting = [:]
    for answer in answers.values { outbox.add(answer, .failure(fault)) }
    drain()
  }

  /// The broker stops: nothing is appended after this.
  func close() {
    phase = .closed
    dropCoordinator(Fault(.draining, "the broker is stopping; connect again", retryAfterMilliseconds: 1_000))
    sinks = [:]
    firstLoad.succeed()
  }

  // MARK: Helpers

  var now: GroupInstant {
    GroupInstant(monotonic: seams.time.monotonicNanoseconds, wall: seams.time.wallMilliseconds)
  }

  static let notCoordinator = Fault(
    .notCoordinator,
    "the group's coordinator lost its log while the request was under way, and begins again; connect again",
    retryAfterMilliseconds: 100)
}
