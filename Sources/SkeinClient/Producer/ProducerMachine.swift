import SkeinCore

/// The order-keeping half of the producer, without I/O, clock or lock: per-partition sequences, the
/// in-flight window, retries and their limits (P3-P7, P10). Events go in, effects come out; the
/// shell sends and waits.
///
/// One *lane* per partition. Its queue holds the batches in the order of their sequences; a prefix
/// is in flight. Lane states and what may follow:
/// - **open**: sends while the window allows → settling when a batch is refused.
/// - **settling**: sends nothing until every batch in flight is answered → paused or open.
/// - **paused** until a time (back-off) → open.
/// A lost stream makes what was in flight *uncertain* and all lanes open again. The machine fails
/// as a whole (terminal) when going on could duplicate or lose: see `settle`.
struct ProducerMachine {
  struct Lane {
    enum State { case open, settling, paused(until: Int64) }
    let topic: String
    let partition: Int32
    /// What the next sealed batch begins with (P3).
    var nextSequence: Int32 = 0
    var queue = FIFO<OutboundBatch>()
    /// Length of the queue's prefix that was sent on this stream.
    var sent = 0
    var inFlight = 0
    var state = State.open
    var backoff = Backoff()
    var isReady = false
    /// The broker forgot this producer (P6): the next settling starts from sequence 0.
    var isForgotten = false
    /// Batches acknowledged behind an uncertain one that is still here. The broker remembers only the
    /// last `window` batches (P7): were more appended, it could not tell the uncertain one's repeat
    /// from a gap.
    var overtaken = 0
    /// The broker asked to wait at least this long, in nanoseconds.
    var askedDelay: Int64 = 0

    func canSend(window: Int) -> Bool {
      guard case .open = state, sent < queue.count, inFlight < window else { return false }
      return sent == 0 || queue[sent].isUncertain || sent + overtaken < window
    }
  }

  /// What the shell sends.
  struct Sending {
    let requestID: UInt64
    let lane: Int
    let topic: String
    let partition: Int32
    let generation: UInt32
    let payload: SharedBytes
  }

  /// A batch that is over, and how.
  struct Completion {
    let topic: String
    let partition: Int32
    let batch: OutboundBatch
    let result: Result<BatchAcknowledgement, SkeinError>
  }

  /// The broker's answer to one batch.
  enum Answer {
    case appended(BatchAcknowledgement)
    case refused(SkeinError)
  }

  private(set) var lanes: [Lane] = []
  /// Set once, for ever: the producer takes nothing more (P10: "fail the producer visibly").
  private(set) var failure: SkeinError?
  /// Batches per lane that may be in flight (P7), as the broker announced it or fewer.
  private(set) var window = 0
  private(set) var isConnected = false
  /// Batches queued or in flight.
  private(set) var outstanding = 0

  private var ready = FIFO<Int>()
  private var requests: [UInt64: Int] = [:]
  private var nextRequestID: UInt64 = 1
  private let random: any RandomSource
  /// Rewrites a batch's sequence; replaced in tests that have no real batches.
  private let resequence: @Sendable (SharedBytes, Int32) -> SharedBytes

  init(
    random: any RandomSource,
    resequence: @escaping @Sendable (SharedBytes, Int32) -> SharedBytes
  ) {
    self.random = random
    self.resequence = resequence
  }

  // MARK: Filling

  mutating func addLane(topic: String, partition: Int32) -> Int {
    lanes.append(Lane(topic: topic, partition: partition))
    return lanes.count - 1
  }

  /// Takes the next `count` sequences of a lane; the caller enqueues that batch before it asks again.
  mutating func reserveSequence(lane: Int, count: Int32) -> Int32 {
    let first = lanes[lane].nextSequence
    lanes[lane].nextSequence = Self.advance(first, by: count)
    return first
  }

  /// Gives back the sequences of a batch that was never enqueued: the last ones reserved.
  mutating func returnSequence(lane: Int, _ first: Int32) { lanes[lane].nextSequence = first }

  mutating func enqueue(_ batch: OutboundBatch, lane: Int) {
    outstanding += 1
    lanes[lane].queue.append(batch)
    markReady(lane)
  }

  /// Sequences wrap from 2^31-1 to 0 (P3).
  static func advance(_ sequence: Int32, by count: Int32) -> Int32 {
    Int32((Int64(sequence) + Int64(count)) & 0x7fff_ffff)
  }

  /// Batches in flight of a lane from which a batch that is not full goes on filling: one is being
  /// synced, the next sync takes the other; a third would only be one more small batch. Full batches
  /// use the whole window.
  private static let partialBatches = 2

  /// Whether a batch that is not full should leave now: nothing of its lane waits, little is in flight.
  func takesPartialBatch(lane: Int) -> Bool {
    guard isConnected, case .open = lanes[lane].state else { return false }
    return lanes[lane].sent == lanes[lane].queue.count
      && lanes[lane].inFlight < min(window, Self.partialBatches)
  }

  // MARK: Stream

  mutating func streamOpened(window: Int) {
    isConnected = true
    self.window = max(1, window)
    for lane in lanes.indices { markReady(lane) }
  }

  /// The stream ended without answers for what was in flight: those batches may or may not be
  /// appended, and must come again with the same producer id, epoch and sequence (P10).
  mutating func streamLost() -> [Completion] {
    isConnected = false
    requests.removeAll(keepingCapacity: true)
    nextRequestID = 1
    var completions: [Completion] = []
    for index in lanes.indices where lanes[index].sent > 0 {
      for at in 0..<lanes[index].sent {
        if case .inFlight = lanes[index].queue[at].attempt {
          lanes[index].queue[at].isUncertain = true
          lanes[index].queue[at].attempt = .waiting
        }
      }
      lanes[index].inFlight = 0
      if case .settling = lanes[index].state { completions += settle(index, now: nil) }
      lanes[index].sent = 0
    }
    return completions
  }

  /// The next batch to send, or nil: nothing is ready, or there is no stream. Lanes take turns.
  mutating func nextSending() -> Sending? {
    guard isConnected, failure == nil else { return nil }
    while let index = ready.popFirst() {
      lanes[index].isReady = false
      guard lanes[index].canSend(window: window) else { continue }
      let id = nextRequestID
      nextRequestID += 1
      requests[id] = index
      let at = lanes[index].sent
      lanes[index].queue[at].attempt = .inFlight(id)
      lanes[index].sent += 1
      lanes[index].inFlight += 1
      markReady(index)
      let lane = lanes[index]
      let batch = lane.queue[at]
      return Sending(
        requestID: id, lane: index, topic: lane.topic, partition: lane.partition,
        generation: batch.generation, payload: batch.payload)
    }
    return nil
  }

  // MARK: Answers

  /// The broker answered. Returns the lane concerned (nil: an answer to nothing we sent on this
  /// stream) and the batches that are over now.
  mutating func answered(
    _ requestID: UInt64, _ answer: Answer, now: Int64
  ) -> (lane: Int?, completions: [Completion]) {
    guard let index = requests.removeValue(forKey: requestID) else { return (nil, []) }
    lanes[index].inFlight -= 1
    switch answer {
    case .appended(let acknowledgement):
      return (index, appended(requestID, lane: index, acknowledgement, now: now))
    case .refused(let error):
      return (index, refused(requestID, lane: index, error, now: now))
    }
  }

  private mutating func appended(
    _ requestID: UInt64, lane index: Int, _ acknowledgement: BatchAcknowledgement, now: Int64
  ) -> [Completion] {
    let batch: OutboundBatch
    if lanes[index].queue.first?.attempt.requestID == requestID, let head = lanes[index].queue.popFirst() {
      batch = head
      lanes[index].backoff.reset()
      lanes[index].askedDelay = 0
      if lanes[index].overtaken > 0, !hasUncertain(index) { lanes[index].overtaken = 0 }
    } else if let late = takeBehindUncertain(requestID, lane: index) {
      batch = late
    } else {
      return fail(SkeinError(.internalError, "acknowledgements came out of order for a partition"))
    }
    lanes[index].sent -= 1
    outstanding -= 1
    let done = completion(index, batch, .success(acknowledgement))
    guard case .settling = lanes[index].state else {
      markReady(index)
      return [done]
    }
    return [done] + settleIfQuiet(index, now: now)
  }

  /// A batch was appended though one before it was refused: then that one had been appended by a
  /// sending whose outcome we do not know, and its next sending will find it as a duplicate (P4).
  private mutating func takeBehindUncertain(_ requestID: UInt64, lane index: Int) -> OutboundBatch? {
    guard
      let at = (0..<lanes[index].sent).first(where: {
        lanes[index].queue[$0].attempt.requestID == requestID
      }),
      (0..<at).allSatisfy({
        lanes[index].queue[$0].isUncertain && lanes[index].queue[$0].attempt.isRefusal
      })
    else { return nil }
    lanes[index].overtaken += 1
    return lanes[index].queue.partition { $0.attempt.requestID != requestID }.first
  }

  private mutating func refused(
    _ requestID: UInt64, lane index: Int, _ error: SkeinError, now: Int64
  ) -> [Completion] {
    guard
      let at = (0..<lanes[index].sent).first(where: {
        lanes[index].queue[$0].attempt.requestID == requestID
      })
    else { return [] }
    // What follows a refused batch is refused for the gap it left; that says nothing of its own.
    let followsRefused = (0..<at).contains { lanes[index].queue[$0].attempt.isRefusal }
    let isGap =
      error.reason == Reason.outOfOrderSequence.name || error.reason == Reason.unknownProducer.name
    if followsRefused && isGap {
      lanes[index].queue[at].attempt = .refused
    } else if error.reason == Reason.unknownProducer.name, !lanes[index].queue[at].isUncertain {
      lanes[index].isForgotten = true
      lanes[index].queue[at].attempt = .refused
    } else if isGap || error.reason == Reason.producerFenced.name {
      return fail(error)
    } else if error.isRetriable && error.reason != Reason.partitionerChanged.name {
      if error.outcome == .unknown { lanes[index].queue[at].isUncertain = true }
      lanes[index].queue[at].attempt = .refused
      lanes[index].askedDelay = max(
        lanes[index].askedDelay, error.retryAfter?.nanosecondsClamped ?? 0)
    } else if error.outcome == .unknown {
      // Applied or not, nobody knows, and asking again will not tell.
      return fail(error)
    } else {
      lanes[index].queue[at].attempt = .failed(error)
    }
    lanes[index].state = .settling
    return settleIfQuiet(index, now: now)
  }

  private func hasUncertain(_ index: Int) -> Bool {
    (0..<lanes[index].queue.count).contains { lanes[index].queue[$0].isUncertain }
  }

  private mutating func settleIfQuiet(_ index: Int, now: Int64) -> [Completion] {
    lanes[index].inFlight == 0 ? settle(index, now: now) : []
  }

  /// Every answer of the lane is in. Batches refused for good leave; if that (or a broker that
  /// forgot us) leaves a hole in the sequences, the rest is renumbered, which is safe only while
  /// no batch of the lane is uncertain (P10): a late copy of it could land on a renumbered place.
  /// - Parameter now: monotonic nanoseconds; nil when the stream was lost (no back-off needed).
  private mutating func settle(_ index: Int, now: Int64?) -> [Completion] {
    let isForgotten = lanes[index].isForgotten
    lanes[index].isForgotten = false
    let base = isForgotten ? 0 : (lanes[index].queue.first?.baseSequence ?? lanes[index].nextSequence)
    let uncertain = hasUncertain(index)
    let gone = lanes[index].queue.partition { batch in
      if case .failed = batch.attempt { return false }
      return true
    }
    var completions: [Completion] = []
    for batch in gone {
      guard case .failed(let error) = batch.attempt else { continue }
      outstanding -= 1
      completions.append(completion(index, batch, .failure(error)))
    }
    if !gone.isEmpty || isForgotten {
      guard !uncertain else {
        return completions
          + fail(
            SkeinError(
              .outOfOrderSequence,
              "\(lanes[index].topic)/\(lanes[index].partition): a batch was refused while another's outcome is unknown; going on could duplicate records. Open a new producer.",
              outcome: .unknown))
      }
      renumber(index, from: base)
    }
    for at in 0..<lanes[index].queue.count { lanes[index].queue[at].attempt = .waiting }
    lanes[index].sent = 0
    guard let now, gone.isEmpty else {
      lanes[index].state = .open
      markReady(index)
      return completions
    }
    let delay = max(lanes[index].backoff.next(random), lanes[index].askedDelay)
    lanes[index].state = .paused(until: now + delay)
    return completions
  }

  private mutating func renumber(_ index: Int, from base: Int32) {
    var sequence = base
    for at in 0..<lanes[index].queue.count {
      if lanes[index].queue[at].baseSequence != sequence {
        lanes[index].queue[at].payload = resequence(lanes[index].queue[at].payload, sequence)
        lanes[index].queue[at].baseSequence = sequence
      }
      sequence = Self.advance(sequence, by: lanes[index].queue[at].recordCount)
    }
    lanes[index].nextSequence = sequence
  }

  // MARK: Time

  /// Wakes paused lanes whose time has come and gives up batches past their delivery deadline.
  /// A batch that was never sent fails alone; one that may have been applied fails the producer.
  mutating func tick(now: Int64) -> [Completion] {
    var completions: [Completion] = []
    for index in lanes.indices {
      if case .paused(let until) = lanes[index].state, until <= now {
        lanes[index].state = .open
        markReady(index)
      }
      guard failure == nil, let head = lanes[index].queue.first, head.deadline <= now else { continue }
      completions += expire(index, now: now)
    }
    return completions
  }

  private mutating func expire(_ index: Int, now: Int64) -> [Completion] {
    let name = "\(lanes[index].topic)/\(lanes[index].partition)"
    let hasDoubt = (0..<lanes[index].queue.count).contains {
      lanes[index].queue[$0].isUncertain || lanes[index].queue[$0].attempt.isInFlight
    }
    guard !hasDoubt else {
      return fail(
        SkeinError(
          .deadlineExceeded,
          "\(name): no answer within the delivery deadline; the records may or may not be stored. The producer stops, because going on could duplicate or reorder. Check the broker, then open a new producer.",
          outcome: .unknown))
    }
    for at in 0..<lanes[index].queue.count where lanes[index].queue[at].deadline <= now {
      lanes[index].queue[at].attempt = .failed(
        SkeinError(
          .deadlineExceeded,
          "\(name): not sent within the delivery deadline; nothing was stored. Check the broker's load and health, then send again.",
          outcome: .definite))
    }
    return settle(index, now: now)
  }

  /// The earliest time at which `tick` has something to do, in monotonic nanoseconds.
  func nextWake() -> Int64? {
    var wake: Int64?
    for lane in lanes {
      if case .paused(let until) = lane.state { wake = min(wake ?? until, until) }
      if let deadline = lane.queue.first?.deadline { wake = min(wake ?? deadline, deadline) }
    }
    return wake
  }

  // MARK: Failing

  /// Terminal: everything queued fails, with the outcome that is true of each batch.
  mutating func fail(_ error: SkeinError) -> [Completion] {
    guard failure == nil else { return [] }
    failure = error
    var completions: [Completion] = []
    for index in lanes.indices {
      for batch in lanes[index].queue.drain() {
        var own = error
        let mayExist = batch.isUncertain || batch.attempt.isInFlight
        own.outcome = mayExist ? .unknown : .definite
        if case .failed(let reason) = batch.attempt, !mayExist { own = reason }
        completions.append(completion(index, batch, .failure(own)))
      }
      lanes[index].sent = 0
      lanes[index].inFlight = 0
    }
    outstanding = 0
    requests.removeAll()
    return completions
  }

  private func completion(
    _ lane: Int, _ batch: OutboundBatch, _ result: Result<BatchAcknowledgement, SkeinError>
  ) -> Completion {
    Completion(
      topic: lanes[lane].topic, partition: lanes[lane].partition, batch: batch, result: result)
  }

  private mutating func markReady(_ index: Int) {
    guard isConnected, !lanes[index].isReady, lanes[index].canSend(window: window) else { return }
    lanes[index].isReady = true
    ready.append(index)
  }
}
