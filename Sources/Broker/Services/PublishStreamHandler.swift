import CommitLog
import NIOCore
import RecordFormat
import SkeinCore
import Transport
import Wire

/// One PublishStream. Confined to the connection's loop.
///
/// States: `waiting` → (`opening` →) `open` → `closing` → `closed`. A refused batch never ends the
/// stream; a protocol error (no `open` first, a second one, an undecodable message) does.
///
/// **Flow control.** The HTTP/2 window that a message used is opened again only when its batch was
/// answered, and only while the client takes acknowledgements; so one stream holds at most its
/// window in memory, however slow the disk or the client is. Messages that arrive while acknowledgements
/// pile up, or while very many batches are in flight, are parked as they are, charged to the memory budget:
/// a client that sends without taking acknowledgements gathers none, and is soon told to.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class PublishStreamHandler: CallHandler, AppendReceiver, DrainableStream, @unchecked Sendable {
  private enum State {
    case waiting
    case opening(Acks)
    case open(producerID: Int64, epoch: Int32, acks: Acks)
    case closing
    case closed
  }

  private let call: Call
  let context: BrokerContext
  private let principal: Principal
  private var state = State.waiting
  /// Batches decoded in this socket read, by shard: one hop each (style habit 14).
  private var gathered: [[(TopicPartition, AppendRequest)]]
  private var hasGathered = false
  /// Batches handed over and not answered, by tag.
  private var inFlight: [UInt64: InFlight] = [:]
  private var nextTag: UInt64 = 0
  private var acks: [BatchAck] = []
  private var heldBytes = 0
  /// Arrived and not looked at yet, in order.
  private var parked = CircularBuffer<SharedBytes>()
  private var isUnparking = false
  private var endReceived = false
  /// Acknowledgements queued, in bytes, and batches in flight, from which on messages are parked.
  private static let highWaterBytes = 64 << 10
  private static let maximumInFlight = 4096
  /// Parked messages at which a client that does not take its acknowledgements loses the stream.
  private static let maximumParked = 256
  private var ended = false
  /// The last topic looked up: streams stay with few topics.
  private var cachedTopic: Topic?

  /// What was asked with `assign` and is not answered yet.
  var assigns = AssignQueue()

  private var heartbeat: StreamHeartbeat?

  private struct InFlight {
    let requestID: UInt64
    let messageBytes: Int
    let records: Int
  }

  let eventLoop: any EventLoop

  init(call: Call, context: BrokerContext, principal: Principal) {
    self.call = call
    self.eventLoop = call.eventLoop
    self.context = context
    self.principal = principal
    self.gathered = Array(repeating: [], count: context.partitions.shards.count)
    call.lowerHighWater(to: Self.highWaterBytes)
    context.metrics.publishStreams.add(1)
    context.streams.add(self)
  }

  // MARK: From the client

  func received(_ message: SharedBytes) {
    guard parked.isEmpty, takesMore else { return park(message) }
    take(message)
  }

  private func park(_ message: SharedBytes) {
    parked.append(message)
    guard parked.count >= Self.maximumParked, !call.isWritable else { return }
    fail(
      Fault(
        .clientTooSlow,
        "\(call.queuedBytes) bytes of acknowledgements wait, and \(parked.count) messages behind them; read the stream while you write to it"
      ))
  }

  private var takesMore: Bool {
    inFlight.count < Self.maximumInFlight && !assigns.isFull && call.isWritable
  }

  /// Goes on with what was parked.
  private func unpark() {
    // A refusal is answered at once, which comes back here.
    guard !parked.isEmpty, !isUnparking else { return }
    isUnparking = true
    defer { isUnparking = false }
    while takesMore, let message = parked.popFirst() { take(message) }
    submit()
    if endReceived, parked.isEmpty { ended = true }
  }

  private func take(_ message: SharedBytes) {
    do throws(Fault) {
      let request = try PublishStreamRequest(decoding: message)
      switch state {
      case .waiting:
        guard let open = request.open else {
          throw Fault(.streamNotOpen, "the first message of PublishStream must be `open`; send it first")
        }
        call.release(message.count)
        try begin(open)
      case .opening:
        throw Fault(
          .streamNotOpen, "wait for `opened` before the first batch: it carries the producer id")
      case .open(let producerID, let epoch, let acks):
        guard request.open == nil else {
          throw Fault(.streamNotOpen, "this stream is open already; use a second stream")
        }
        if let target = request.target {
          publish(request.batch, target, producerID, epoch, acks, messageBytes: message.count)
        } else if let question = request.assign {
          assign(question, messageBytes: message.count)
        } else {
          call.release(message.count)
        }
      case .closing, .closed:
        call.release(message.count)
      }
    } catch {
      fail(error)
    }
  }

  func readIdle() { submit() }

  func receivedEnd() {
    submit()
    endReceived = true
    ended = parked.isEmpty
    finishIfDone()
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    end()
    acks = []
  }

  /// Leaves the open streams, once.
  private func end() {
    if case .closed = state { return }
    state = .closed
    parked.removeAll()
    context.metrics.publishStreams.add(-1)
    context.streams.remove(self)
    heartbeat?.stop()
  }

  func goAway(deadlineMilliseconds: Int64) {
    if case .closed = state { return }
    submit()
    let goAway = GoAway(reason: "draining", resume: true, deadlineMs: deadlineMilliseconds)
    send(PublishStreamResponse(goAway: goAway))
    state = .closing
    parked.removeAll()
    ended = true
    finishIfDone()
  }

  func writable() {
    unpark()
    releaseHeld()
    finishIfDone()
  }

  // MARK: Opening

  private func begin(_ open: PublishOpen) throws(Fault) {
    _ = try AckLevel.strength(of: open.acks)
    if open.producerID != 0 {
      guard context.producerIDs.isKnown(open.producerID), (0...32_767).contains(open.producerEpoch)
      else {
        throw Fault(
          .invalidRequest,
          "producer id \(open.producerID) epoch \(open.producerEpoch) was never handed out; open with 0 for a new one",
          violations: [.init(field: "open.producer_id", description: "not known to this cluster")])
      }
      return opened(open.producerID, open.producerEpoch, open.acks)
    }
    if let id = context.producerIDs.takeNow() { return opened(id, 0, open.acks) }
    state = .opening(open.acks)
    let context = context
    try context.admin.submit { [self] in
      do {
        let id = try await context.producerIDs.take()
        eventLoop.execute { self.openedLater(.success(id)) }
      } catch {
        let fault = Fault(wrapping: error)
        eventLoop.execute { self.openedLater(.failure(fault)) }
      }
    }
  }

  private func openedLater(_ result: Result<Int64, Fault>) {
    guard case .opening(let acks) = state else { return }
    switch result {
    case .success(let id): opened(id, 0, acks)
    case .failure(let fault): fail(fault)
    }
  }

  private func opened(_ id: Int64, _ epoch: Int32, _ acks: Acks) {
    state = .open(producerID: id, epoch: epoch, acks: acks)
    var response = PublishStreamResponse()
    var opened = PublishOpened()
    opened.producerID = id
    opened.producerEpoch = epoch
    opened.limits = Limits(context.limits)
    response.opened = opened
    send(response)
    heartbeat = StreamHeartbeat(on: eventLoop, time: context.time) { [weak self] beat in
      self?.send(PublishStreamResponse(heartbeat: beat))
    }
    finishIfDone()
  }

  private func send(_ response: PublishStreamResponse) {
    heartbeat?.sent()
    call.send(OutboundMessage(head: response.encoded(), parts: []))
  }

  // MARK: Batches

  private func publish(
    _ batch: SharedBytes, _ target: BatchTarget, _ producerID: Int64, _ epoch: Int32, _ acks: Acks,
    messageBytes: Int
  ) {
    let tag = nextTag
    nextTag &+= 1
    do throws(Fault) {
      let topic = try topic(named: target.topic)
      try TopicRegistry.check(target.partition, of: topic)
      try AckLevel.check(acks, topic: topic)
      let limits = context.limits.batchLimits(topic.settings)
      let header: BatchHeader
      do throws(BatchError) {
        header = try batch.withUnsafeBytes { (bytes) throws(BatchError) in
          let header = try BatchCheck.produce(bytes, limits: limits)
          if topic.settings.isCompacted { try BatchCheck.keys(bytes, limits: limits) }
          return header
        }
      } catch {
        throw error.fault
      }
      guard header.producerID == -1 || header.producerID == producerID else {
        throw Fault(
          .batchInvalid,
          "the batch carries producer id \(header.producerID), this stream has \(producerID); use the stream's own, or -1 for no deduplication"
        )
      }
      let key = TopicPartition(topic: topic.id, partition: target.partition)
      inFlight[tag] = InFlight(
        requestID: target.requestID, messageBytes: messageBytes, records: Int(header.recordCount))
      gathered[context.partitions.index(of: key)].append(
        (
          key,
          AppendRequest(
            batch: batch, header: header, generation: target.generation,
            currentGeneration: topic.generation, waitsForCommit: acks != .none,
            receivedAt: context.time.monotonicNanoseconds, receiver: self, tag: tag)
        ))
      hasGathered = true
    } catch {
      inFlight[tag] = InFlight(requestID: target.requestID, messageBytes: messageBytes, records: 0)
      received(AppendAnswer(tag: tag, result: .refused(error), queued: 0))
      flushAnswers()
    }
  }

  func topic(named name: String) throws(Fault) -> Topic {
    // A cached snapshot may be stale by one turn only: it is dropped with every submission.
    if let cachedTopic, cachedTopic.name == name { return cachedTopic }
    let topic = try context.registry.topic(name, of: principal.tenant)
    cachedTopic = topic
    return topic
  }

  private func submit() {
    cachedTopic = nil
    guard hasGathered else { return }
    hasGathered = false
    for index in gathered.indices where !gathered[index].isEmpty {
      let requests = gathered[index]
      gathered[index] = []
      context.partitions.shards[index].onLoop { $0.append(requests) }
    }
  }

  // MARK: Answers

  func received(_ answer: AppendAnswer) {
    guard let batch = inFlight.removeValue(forKey: answer.tag) else { return }
    heldBytes += batch.messageBytes
    var ack = BatchAck()
    ack.requestID = batch.requestID
    switch answer.result {
    case .committed(let base, let duplicate, let synced):
      ack.baseOffset = base?.rawValue ?? -1
      ack.duplicate = duplicate
      var timings = Timings()
      timings.queuedUs = answer.queued / 1_000
      timings.syncedUs = synced / 1_000
      ack.timings = timings
      if !duplicate {
        context.metrics.recordsIn.add(batch.records)
        context.metrics.bytesIn.add(batch.messageBytes)
      }
    case .refused(let fault):
      ack.baseOffset = -1
      ack.error = fault.status
    }
    acks.append(ack)
  }

  func flushAnswers() {
    if case .closed = state { return }
    if !acks.isEmpty {
      var response = PublishStreamResponse()
      response.acks = acks
      acks.removeAll(keepingCapacity: true)
      send(response)
    }
    unpark()
    releaseHeld()
    finishIfDone()
  }

  /// Sends the answers whose turn it is.
  func flushAssigned() {
    if case .closed = state { return }
    let (answers, bytes) = assigns.takeReady()
    guard !answers.isEmpty else { return }
    heldBytes += bytes
    var response = PublishStreamResponse()
    response.assigned = answers
    send(response)
    unpark()
    releaseHeld()
    finishIfDone()
  }

  /// Opens the window again for what was answered, unless acknowledgements pile up.
  private func releaseHeld() {
    if case .closed = state { return }
    guard heldBytes > 0, call.isWritable else { return }
    call.release(heldBytes)
    heldBytes = 0
  }

  private func finishIfDone() {
    guard ended, inFlight.isEmpty, assigns.isEmpty else { return }
    switch state {
    case .closed, .opening: return
    default: break
    }
    close(.ok)
  }

  private func fail(_ fault: Fault) { close(GRPCStatus(fault)) }

  private func close(_ status: GRPCStatus) {
    if case .closed = state { return }
    end()
    call.finish(status)
  }
}

extension Limits {
  /// The broker's limits in their announced form.
  init(_ limits: BrokerLimits) {
    self.init()
    maxMessageBytes = Int64(limits.maxMessageBytes)
    maxBatchBytes = Int64(limits.maxMessageBytes - BatchLimits.envelopeBytes)
    maxRecordBytes = Int64(limits.maxRecordBytes)
    maxInFlightBatches = Int32(limits.maxInFlightBatches)
    maxStreams = Int32(limits.maxStreams)
    defaultFetchBytes = Int64(limits.defaultFetchBytes)
  }
}
