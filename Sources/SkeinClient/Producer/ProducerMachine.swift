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
    /// For SWAP_IN_PROGRESS: a fence is up for milliseconds, and publishers feel each of them.
    var fenceBackoff = Backoff(first: 5_000_000, limit: 200_000_000)
    var isFenced = false
    var isReady = false
    /// The broker forgot this producer (P6): the next settling starts from sequence 0.
    var isForgotten = false
    /// Batches acknowledged behind an uncertain one that is still here. The broker remembers only the
    /// last `window` batches (P7): were more appended, it could not tell the uncertain one's repeat
    /// from a gap.
    var overtaken = 0
    /// The broker asked to wait at least this long, in nanoseconds.
    var askedDelay: Int64 = 0
    /// The topic's partitioner is another one: nothing is sent but what may have been appended, until all
    /// of it is known (see `ProducerMachine+Holding.swift`).
    var isHeld = false

    func canSend(window: Int) -> Bool {
      guard case .open = state, sent < queue.count, inFlight < window else { return false }
      // A batch behind an uncertain one waits; one before it goes along, and is refused again.
      if isHeld { return (sent..<queue.count).contains { queue[$0].isUncertain } }
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

  // What follows is changed by this file and `ProducerMachine+….swift` only.
  var lanes: [Lane] = []
  /// Set once, for ever: the producer takes nothing more (P10: "fail the producer visibly").
  var failure: SkeinError?
  /// Batches per lane that may be in flight (P7), as the broker announced it or fewer.
  private(set) var window = 0
  private(set) var isConnected = false
  /// Batches queued or in flight.
  var outstanding = 0

  /// Lanes in which the broker refused a batch for its generation since this was last emptied.
  var outdated: [Int] = []

  /// When the first pause of a lane is over, in monotonic nanoseconds; nil: none is paused.
  var nextWake: Int64?

  private var ready = FIFO<Int>()
  var requests: [UInt64: Int] = [:]
  private var nextRequestID: UInt64 = 1
  let random: any RandomSource
  /// Rewrites a batch's sequence; replaced in tests that have no real batches.
  let resequence: @Sendable (SharedBytes, Int32) -> SharedBytes

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
    guard isConnected, case .open = lanes[lane].state, !lanes[lane].isHeld else { return false }
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
      lanes[index].queue[at].sendings += 1
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

  mutating func markReady(_ index: Int) {
    guard isConnected, !lanes[index].isReady, lanes[index].canSend(window: window) else { return }
    lanes[index].isReady = true
    ready.append(index)
  }
}
