import NIOCore
import RecordFormat
import SkeinCore
import Synchronization
import Transport
import Wire

/// The producer's side of `PublishStream`: pumps batches out while the stream is writable, hands the
/// acknowledgements in. Outlives single streams; the supervisor brings it the next one.
///
/// `@unchecked Sendable`: `stream` and `timer` are touched on the loop of the current stream only,
/// and one stream ends before the next begins; the rest is locked.
final class ProducerStream: SupervisedStream, @unchecked Sendable {
  struct Shared {
    var producerID: Int64 = 0
    var producerEpoch: Int32 = 0
    var isClosing = false
    var loop: (any EventLoop)?
    /// Waits for the first stream to open.
    var opening: CheckedContinuation<Result<Void, SkeinError>, Never>?
    var outcome: Result<Void, SkeinError>?
  }

  private let core: ProducerCore
  private let acks: Acks
  private let clock = SystemClock()
  private let shared = Mutex(Shared())
  private var stream: StreamSession?
  private var timer: Scheduled<Void>?
  /// When `timer` fires, in monotonic nanoseconds.
  private var timerDue: Int64 = 0

  init(core: ProducerCore, acknowledgement: Acknowledgement) {
    self.core = core
    acks =
      switch acknowledgement {
      case .topicDefault: .unspecified
      case .leader: .leader
      case .all: .all
      }
  }

  // MARK: Opening and closing, any thread

  /// Waits until the first stream is open, or the supervisor gave up.
  func opened() async throws(SkeinError) {
    let result = await withCheckedContinuation { continuation in
      let known = shared.withLock { shared in
        if shared.outcome == nil { shared.opening = continuation }
        return shared.outcome
      }
      if let known { continuation.resume(returning: known) }
    }
    try result.get()
  }

  /// A stream has been open once.
  var wasOpened: Bool { shared.withLock { if case .success? = $0.outcome { true } else { false } } }

  /// Half-closes the stream; the broker answers what it has and ends it.
  func close() {
    let loop = shared.withLock { shared in
      shared.isClosing = true
      return shared.loop
    }
    loop?.execute { self.stream?.sendEnd() }
  }

  private func settleOpening(_ result: Result<Void, SkeinError>) {
    let opening = shared.withLock { shared in
      if shared.outcome == nil { shared.outcome = result }
      defer { shared.opening = nil }
      return shared.opening
    }
    opening?.resume(returning: result)
  }

  // MARK: SupervisedStream

  var isOver: Bool { shared.withLock { $0.isClosing } || core.failure != nil }

  func streamEnded(_ error: SkeinError?) -> StreamContinuation {
    shared.withLock { $0.loop = nil }
    stream = nil
    timer?.cancel()
    timer = nil
    core.streamLost()
    return .afterBackoff
  }

  func gaveUp(_ error: SkeinError) {
    core.fail(error)
    settleOpening(.failure(error))
  }

  // MARK: StreamDelegate, on the loop

  func started(_ stream: StreamSession) {
    self.stream = stream
    let (id, epoch, isClosing) = shared.withLock { shared in
      shared.loop = stream.eventLoop
      return (shared.producerID, shared.producerEpoch, shared.isClosing)
    }
    let open = PublishOpen(producerID: id, producerEpoch: epoch, acks: acks)
    stream.send(OutboundMessage(head: PublishStreamRequest(open: open).encoded()))
    if isClosing { stream.sendEnd() }
  }

  func received(_ message: SharedBytes, on stream: StreamSession) throws(SkeinError) {
    let response: PublishStreamResponse
    do {
      response = try PublishStreamResponse(decoding: message, limits: .reply)
    } catch { throw SkeinError(error) }
    if let opened = response.opened { try open(opened, stream) }
    if !response.acks.isEmpty { core.answered(response.acks.map(Self.answer)) }
    if !response.assigned.isEmpty { core.assigned(response.assigned.map(AssignmentAnswer.init)) }
    // After GoAway the broker answers what it has and ends the stream; the supervisor opens another.
    if response.goAway != nil { stream.sendEnd() }
  }

  private func open(_ opened: PublishOpened, _ stream: StreamSession) throws(SkeinError) {
    let isAnother = shared.withLock { shared in
      defer {
        shared.producerID = opened.producerID
        shared.producerEpoch = opened.producerEpoch
      }
      return shared.producerID != 0
        && (shared.producerID, shared.producerEpoch) != (opened.producerID, opened.producerEpoch)
    }
    // What is unanswered carries the old id; under another the broker could not see a repeat (P10).
    guard !isAnother else {
      throw SkeinError(
        .producerFenced, "the broker opened the stream with another producer id; open a new producer",
        outcome: .definite)
    }
    var limits = BatchLimits()
    if let announced = opened.limits {
      if announced.maxBatchBytes > 0 { limits.maxBatchBytes = Int(min(announced.maxBatchBytes, 1 << 30)) }
      if announced.maxRecordBytes > 0 {
        limits.maxRecordBytes = Int(min(announced.maxRecordBytes, 1 << 30))
      }
    }
    let window = Int(opened.limits?.maxInFlightBatches ?? 0)
    guard let loop = stream.eventLoop else { return }
    core.streamOpened(
      producerID: opened.producerID, producerEpoch: Int16(truncatingIfNeeded: opened.producerEpoch),
      window: window > 0 ? window : 5, limits: limits
    ) { [weak self] in
      guard let self else { return }
      loop.execute { self.pump() }
    }
    settleOpening(.success(()))
  }

  func writable(_ stream: StreamSession) { pump() }
  func readIdle(_ stream: StreamSession) {}

  func heartbeat(now: Int64) -> OutboundMessage? {
    OutboundMessage(head: PublishStreamRequest(heartbeat: Heartbeat(sentMs: now)).encoded())
  }

  // MARK: Sending

  /// Sends what may leave, then sleeps until something lingered long enough or somebody wakes it.
  private func pump() {
    guard let stream else { return }
    let (due, asks) = core.pumpBegins()
    if asks {
      while stream.isWritable, let question = core.nextQuestion() {
        stream.send(OutboundMessage(head: PublishStreamRequest(assign: AssignRequest(question)).encoded()))
      }
    }
    while stream.isWritable, let sending = core.nextSending() {
      let target = BatchTarget(
        requestID: sending.requestID, topic: sending.topic, partition: sending.partition,
        generation: sending.generation)
      let (head, payload) = PublishStreamRequest(target: target, batch: sending.payload).encodedParts()
      stream.send(OutboundMessage(head: head, parts: payload))
    }
    guard let due, let loop = stream.eventLoop else { return }
    if let timer {
      guard due < timerDue else { return }
      timer.cancel()
    }
    timerDue = due
    let wait = max(0, due - clock.monotonicNanoseconds)
    timer = loop.scheduleTask(in: .nanoseconds(wait)) { [weak self] in
      self?.timer = nil
      self?.pump()
    }
  }

  private static func answer(_ ack: BatchAck) -> (UInt64, ProducerMachine.Answer) {
    if let error = ack.error { return (ack.requestID, .refused(SkeinError(Fault(error)))) }
    var timings = PublishTimings()
    if let wire = ack.timings {
      timings.queued = wire.queuedUs
      timings.throttled = wire.throttledUs
      timings.appended = wire.appendedUs
      timings.synced = wire.syncedUs
      timings.replicated = wire.replicatedUs
    }
    return (
      ack.requestID,
      .appended(
        BatchAcknowledgement(
          baseOffset: (0..<Offset.limit.rawValue).contains(ack.baseOffset) ? ack.baseOffset : nil,
          isDuplicate: ack.duplicate,
          timings: timings))
    )
  }
}

extension AssignRequest {
  init(_ question: AssignmentQuestion) {
    self.init(
      requestID: question.requestID, topic: question.topic, generation: question.generation,
      keyLengths: question.keyLengths, headerLengths: question.headerLengths,
      timestampsMs: question.timestamps, headerValues: question.headerValues, keys: question.keys)
  }
}

extension AssignmentAnswer {
  init(_ wire: AssignAnswer) {
    self.init(
      requestID: wire.requestID, generation: wire.generation, partitions: wire.partitions,
      error: wire.error.map { SkeinError(Fault($0)) })
  }
}
