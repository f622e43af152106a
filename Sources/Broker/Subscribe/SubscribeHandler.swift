import CommitLog
import GroupCoordination
import NIOCore
import RecordFormat
import SkeinCore
import Transport
import Wire

/// One Subscribe stream: a member of a consumer group, from its join to its leaving (ADR 0011). Confined to the
/// connection's loop.
///
/// The group's coordinator decides who has what; this carries its messages to the member and the member's to it,
/// reads the member's partitions (`PartitionPump`), and commits. What it does by file:
/// `+Join`, `+Assignment` (partitions come and go), `+Start` (where they begin), `+Records`, `+Fences`, `+Commits`, `+Acks`,
/// `+Heartbeat`, `+End`.
///
/// **Order.** An assignment is on the wire before any record of a partition that it gives. A heartbeat that gives
/// partitions back, a leave and a drain wait until every commit that was asked before has its answer.
///
/// **Bounds.** The HTTP/2 window that a message used is opened again when it is dealt with: for a commit when it is
/// answered, and only while the member takes what is sent to it. So one stream holds at most its window of requests,
/// `maximumCommits` commits, `AckTracker.maximumRanges` ranges and one read a partition, within the broker's read budget.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class SubscribeHandler: CallHandler, DrainableStream, MemberSink, PumpOwner, @unchecked Sendable {
  enum Phase {
    /// For `join`. → joining, closed
    case waiting
    /// Until the first assignment is there; what comes meanwhile waits. → member, closed
    case joining
    /// → leaving, draining, closed
    case member
    /// Goes when its commits are answered. → closed
    case leaving
    /// The broker wants the stream to end, which it does when its commits are answered. → closed
    case draining
    case closed
  }

  /// Commits of one stream without an answer; the next is refused.
  static let maximumCommits = 1_024
  /// Messages that wait for the first assignment; one more ends the stream.
  static let maximumParked = 1_024

  let call: Call
  let context: BrokerContext
  let principal: Principal
  let eventLoop: any EventLoop
  var phase = Phase.waiting

  // The member.
  var membership: Membership?
  var session: SessionID?
  var isJoined = false
  /// Of the newest assignment that was sent; 0 = none.
  var epoch: Int32 = 0
  var joinEpoch: Int32 = 0
  var parked: [(request: SubscribeRequest, bytes: Int)] = []

  // Partitions.
  var pump: PartitionPump?
  var partitions: [TopicPartition: MemberPartition] = [:]
  /// Of topics that the member has or had, the newest of each name.
  var topicIDs: [String: TopicID] = [:]
  var seeks: [TopicPartition: UInt32] = [:]
  /// Begins them again after a pause, because their store did not answer.
  var startRetry: Scheduled<Void>?

  // Commits.
  var lastCommit: UInt64 = 0
  /// Asked and not answered, those for acknowledgements included.
  var commitsInFlight = 0
  var isAckCommitInFlight = false
  /// Have something acknowledged that is not asked to be committed.
  var dirty: Set<TopicPartition> = []
  var ackTimer: Scheduled<Void>?
  /// The store did not take what was acknowledged; until `ackTimer`.
  var isAckTrouble = false
  /// Hold back because the group's store does not answer, or too much is acknowledged beyond a gap.
  var bounded: Set<TopicPartition> = []
  /// Wait at the cut of a fenced swap.
  var fenced: Set<TopicPartition> = []
  /// The next look at what the group has committed, and the pause before the one after it.
  var fenceCheck: Scheduled<Void>?
  var fencePause = TimeAmount.zero

  // Heartbeats and the end.
  /// The newest list that gives partitions back; waits for commits.
  var heldRelease: GroupCoordination.Heartbeat?
  /// The coordinator has not answered the one before.
  var isHeartbeatAsked = false
  /// All that came meanwhile.
  var nextHeartbeat: GroupCoordination.Heartbeat?
  var leave: LeaveRequest?
  var lastHeard = NIODeadline.now()
  var lastSent = NIODeadline.now()
  var lastAlive = NIODeadline.now()
  var isSuspect = false
  /// The append times of a lag are being read.
  var isLagSought = false
  /// Of the partitions of a member with very many, where the next heartbeat's lags begin.
  var lagTurn = 0
  var ticker: Scheduled<Void>?
  var deadline: Scheduled<Void>?
  private var heldBytes = 0

  init(call: Call, context: BrokerContext, principal: Principal) {
    self.call = call
    self.context = context
    self.principal = principal
    self.eventLoop = call.eventLoop
    context.metrics.subscribeStreams.add(1)
    context.streams.add(self)
    tick()
  }

  var times: GroupTimes { context.groups.times }

  // MARK: From the client

  func received(_ message: SharedBytes) {
    if case .closed = phase { return }
    heard()
    do throws(Fault) {
      try take(try SubscribeRequest(decoding: message), bytes: message.count)
    } catch {
      end(with: error)
    }
  }

  private func take(_ request: SubscribeRequest, bytes: Int) throws(Fault) {
    switch phase {
    case .waiting:
      guard let join = request.join else {
        throw Fault(.streamNotOpen, "the first message of Subscribe must be `join`; send it first")
      }
      guard request.isCreditOnly else {
        throw Fault(
          .invalidRequest, "`join` comes with something else than `credit`",
          violations: [.init(field: "join", description: "alone, or with `credit`")])
      }
      try begin(join)
      if let credit = request.credit { grant(credit) }
      done(with: bytes)
    case .closed: break
    case .joining where request.join == nil && !request.isCreditOnly:
      guard parked.count < Self.maximumParked else {
        throw Fault(
          .clientTooSlow,
          "\(parked.count) messages came before the member's first assignment; wait for `joined` and the assignment before you send more"
        )
      }
      parked.append((request, bytes))
      if let credit = request.credit { grant(credit) }
    default:
      guard request.join == nil else {
        throw Fault(.streamNotOpen, "this stream has joined already; use a second stream for another member")
      }
      try perform(request, bytes: bytes)
    }
  }

  /// What waited for the first assignment.
  func unpark() {
    let requests = parked
    parked = []
    do throws(Fault) {
      for (request, bytes) in requests { try perform(request, bytes: bytes) }
      flushAcks()
    } catch {
      end(with: error)
    }
  }

  /// In this order, because a message may hold several: `reclaimed` with `commit` and `heartbeat`.
  private func perform(_ request: SubscribeRequest, bytes: Int) throws(Fault) {
    if case .closed = phase { return }
    var isHeld = false
    if let credit = request.credit { grant(credit) }
    if let ack = request.ack { try acknowledge(ack) }
    if let reclaimed = request.reclaimed { try reclaim(reclaimed) }
    if let commit = request.commit { isHeld = try self.commit(commit, bytes: bytes) }
    if let pause = request.pause { try self.pause(pause) }
    if let seek = request.seek { try self.seek(seek) }
    if let heartbeat = request.heartbeat { try beat(heartbeat) }
    if let leave = request.leave { self.leave(leave) }
    if !isHeld { done(with: bytes) }
    pump?.pump()
  }

  func readIdle() { flushAcks() }

  func receivedEnd() {
    switch phase {
    case .leaving: break
    default: end(.ok)
    }
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { stop() }

  func writable() {
    done(with: 0)
    pump?.pump()
  }

  private func grant(_ credit: ReadCredit) {
    pump?.grant(messages: credit.messages, bytes: credit.bytes)
    pump?.pump()
  }

  // MARK: From the coordinator

  func push(_ message: MemberMessage) {
    if case .closed = phase { return }
    switch message {
    case .assignment(let assignment): take(assignment)
    case .goAway(let fault): end(with: fault)
    }
  }

  // MARK: To the client

  func send(_ response: SubscribeResponse, _ charge: MemoryBudget.Reservation? = nil) {
    if case .closed = phase { return }
    lastSent = .now()
    let (head, parts) = response.encodedParts()
    var message = OutboundMessage(head: head, parts: parts)
    message.charge = charge
    call.send(message)
  }

  func report(_ fault: Fault, of partition: MemberPartition) {
    report(fault, topic: partition.topicName, partition: partition.key.partition)
  }

  func report(_ fault: Fault, topic: String, partition: Int32) {
    send(SubscribeResponse(error: PartitionError(topic: topic, partition: partition, error: fault.status)))
  }

  /// A request of so many bytes is dealt with: its window opens again, unless answers pile up.
  func done(with bytes: Int) {
    heldBytes += bytes
    guard heldBytes > 0, call.isWritable else { return }
    call.release(heldBytes)
    heldBytes = 0
  }
}

extension SubscribeRequest {
  /// Besides a join: of no consequence but more credit.
  fileprivate var isCreditOnly: Bool {
    heartbeat == nil && commit == nil && ack == nil && seek == nil && pause == nil && reclaimed == nil
      && leave == nil
  }
}
