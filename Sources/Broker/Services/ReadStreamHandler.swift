import CommitLog
import NIOCore
import RecordFormat
import SkeinCore
import Transport
import Wire

/// One Read stream: explicit partitions, credits in messages and bytes (stream rule 2). Confined to
/// the connection's loop.
///
/// Each partition is `idle` (to be read), `reading` or `waiting` (at its end). The pump starts a read
/// only while both credits are above zero and the connection takes data, so a slow reader holds at
/// most one message per partition plus the transport's bounded queue. All streams together hold at most
/// `readBudget`, from the start of a read until its message is encrypted; beyond it reads are put off.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class ReadStreamHandler: CallHandler, DrainableStream, @unchecked Sendable {
  static let defaultMessageBytes = 256 << 10
  /// Reads of one stream in progress at once.
  static let maximumReads = 4

  private enum Activity {
    case idle
    case reading
    case waiting(ReadWaiter)
    case ended
  }

  private struct Cursor {
    var position: ReadPosition
    var activity: Activity
    /// Bytes of the batch at `position`, once a read has shown that it is larger than a message should be.
    var needed = 0
  }

  private let call: Call
  private let context: BrokerContext
  private let principal: Principal
  private var heartbeat: StreamHeartbeat?
  let eventLoop: any EventLoop
  private var opened = false
  private var isClosed = false
  private var cursors: [Cursor] = []
  private var nextCursor = 0
  private var reads = 0
  private var messageBytes = ReadStreamHandler.defaultMessageBytes
  /// Cumulative totals: granted by the client, charged by us.
  private var granted = ReadCredit()
  private var sentMessages: UInt64 = 0
  private var sentBytes: UInt64 = 0
  /// Bytes asked for by reads in progress: reserved from the credit, so that parallel reads do not
  /// overshoot it together.
  private var reservedBytes: UInt64 = 0
  /// Set while reads are put off for want of memory.
  private var retry: Scheduled<Void>?
  private static let retryDelay = TimeAmount.milliseconds(20)

  init(call: Call, context: BrokerContext, principal: Principal) {
    self.call = call
    self.context = context
    self.principal = principal
    self.eventLoop = call.eventLoop
    context.metrics.readStreams.add(1)
    context.streams.add(self)
  }

  // MARK: From the client

  func received(_ message: SharedBytes) {
    defer { if !isClosed { call.release(message.count) } }
    do throws(Fault) {
      let request = try ReadRequest(decoding: message)
      if let open = request.open {
        guard !opened else {
          throw Fault(.streamNotOpen, "this stream is open already; use a second stream")
        }
        try begin(open)
      } else if !opened {
        throw Fault(.streamNotOpen, "the first message of Read must be `open`; send it first")
      }
      if let credit = request.credit {
        granted.messages = max(granted.messages, credit.messages)
        granted.bytes = max(granted.bytes, credit.bytes)
      }
      pump()
    } catch {
      close(GRPCStatus(error))
    }
  }

  func receivedEnd() {
    close(.ok)
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { stop() }

  func writable() { pump() }

  func goAway(deadlineMilliseconds: Int64) {
    guard !isClosed else { return }
    let goAway = GoAway(reason: "draining", resume: true, deadlineMs: deadlineMilliseconds)
    send(ReadResponse(goAway: goAway))
    close(.ok)
  }

  // MARK: Opening

  private func begin(_ open: ReadOpen) throws(Fault) {
    let limit = context.limits.maxFetchPartitions
    guard (1...limit).contains(open.partitions.count) else {
      throw Fault(
        .invalidRequest, "a Read names 1 to \(limit) partitions; this one names \(open.partitions.count)",
        violations: [.init(field: "open.partitions", description: "1 to \(limit)")])
    }
    opened = true
    messageBytes =
      open.maxMessageBytes == 0
      ? Self.defaultMessageBytes : min(Int(open.maxMessageBytes), context.limits.maxFetchBytes)
    var response = ReadResponse()
    var answer = ReadOpened()
    answer.limits = Limits(context.limits)
    response.opened = answer
    send(response)
    heartbeat = StreamHeartbeat(on: eventLoop, time: context.time) { [weak self] beat in self?.send(beat) }
    var seen: Set<TopicPartition> = []
    for wanted in open.partitions {
      do throws(Fault) {
        let position = try ReadPosition(wanted, principal: principal, registry: context.registry)
        guard seen.insert(position.key).inserted else {
          throw Fault(
            .invalidRequest,
            "topic \"\(wanted.topic.displayable)\" partition \(wanted.partition) is named twice",
            violations: [.init(field: "open.partitions", description: "each at most once")])
        }
        cursors.append(Cursor(position: position, activity: .idle))
      } catch {
        report(error, topic: wanted.topic, partition: wanted.partition)
      }
    }
  }

  // MARK: The pump

  private var hasCredit: Bool {
    sentMessages < granted.messages && sentBytes + reservedBytes < granted.bytes
  }

  private func pump() {
    guard opened, !isClosed else { return }
    var examined = 0
    while examined < cursors.count, reads < Self.maximumReads, hasCredit, call.isWritable {
      let index = nextCursor
      nextCursor = (nextCursor + 1) % cursors.count
      examined += 1
      if case .idle = cursors[index].activity { read(index) }
    }
  }

  private func read(_ index: Int) {
    let position = cursors[index].position
    let want = Int(min(UInt64(messageBytes), granted.bytes - sentBytes - reservedBytes))
    guard let charge = context.readBudget.reserve(max(want, cursors[index].needed)) else { return putOff() }
    cursors[index].activity = .reading
    reads += 1
    reservedBytes += UInt64(want)
    context.partitions.shard(of: position.key).onLoop { shard in
      shard.read(
        position.key, from: position.offset, maxBytes: want, lastEpoch: position.lastEpoch,
        replyLoop: self.eventLoop
      ) { result in
        self.finished(index, result, reserved: UInt64(want), charge)
      }
    }
  }

  /// Streams hold all that they may: the pump runs again a little later.
  private func putOff() {
    context.metrics.readsThrottled.add(1)
    guard retry == nil else { return }
    retry = eventLoop.scheduleTask(in: Self.retryDelay) {
      self.retry = nil
      self.pump()
    }
  }

  private func finished(
    _ index: Int, _ result: Result<ReadSlice, Fault>, reserved: UInt64, _ charge: MemoryBudget.Reservation
  ) {
    reads -= 1
    reservedBytes -= reserved
    guard !isClosed else { return }
    let position = cursors[index].position
    switch result {
    case .failure(let fault) where fault.reason == .overloaded:
      cursors[index].activity = .idle
      return putOff()
    case .failure(let fault):
      cursors[index].activity = .ended
      report(fault, topic: position.topicName, partition: position.key.partition)
    case .success(let slice) where slice.batches.isEmpty && slice.next <= position.offset:
      wait(index)
    case .success(let slice):
      cursors[index].activity = .idle
      // A batch is sent whole, however large; then it is charged whole.
      guard
        let exact = context.readBudget.reserve(slice.bytes) ?? (slice.bytes <= charge.bytes ? charge : nil)
      else {
        cursors[index].needed = slice.bytes
        return putOff()
      }
      cursors[index].needed = 0
      deliver(slice, index, exact)
    }
    pump()
  }

  private func wait(_ index: Int) {
    let position = cursors[index].position
    let waiter = ReadWaiter(loop: eventLoop) {
      guard !self.isClosed else { return }
      self.cursors[index].activity = .idle
      self.pump()
    }
    cursors[index].activity = .waiting(waiter)
    context.partitions.shard(of: position.key).onLoop {
      $0.wait(position.key, past: position.offset, waiter)
    }
  }

  private func deliver(_ slice: ReadSlice, _ index: Int, _ charge: MemoryBudget.Reservation) {
    let position = cursors[index].position
    var records: UInt64 = 0
    var base = position.offset
    for (number, batch) in slice.batches.enumerated() {
      batch.withUnsafeBytes { bytes in
        guard let header = try? BatchHeader(parsing: bytes) else { return }
        records += UInt64(max(0, header.recordCount))
        if number == 0 { base = Offset(header.baseOffset) }
      }
    }
    sentMessages += records
    sentBytes += UInt64(slice.bytes)
    context.metrics.bytesOut.add(slice.bytes)
    var response = ReadResponse()
    var read = ReadBatches()
    read.topic = position.topicName
    read.partition = position.key.partition
    read.baseOffset = base.rawValue
    read.nextOffset = slice.next.rawValue
    read.highWatermark = slice.highWatermark.rawValue
    read.logStartOffset = slice.logStart.rawValue
    read.leaderEpoch = slice.leaderEpoch.rawValue
    read.totalMessages = sentMessages
    read.totalBytes = sentBytes
    response.read = read
    response.batches = Payload(slice.batches)
    send(response, charge)
    cursors[index].position.offset = slice.next
    cursors[index].position.lastEpoch = slice.leaderEpoch
  }

  // MARK: Sending and ending

  /// A heartbeat says where the stream would resume.
  private func send(_ beat: Heartbeat) {
    var beat = beat
    beat.positions = cursors.map {
      PartitionOffset(
        topic: $0.position.topicName, partition: $0.position.key.partition,
        offset: $0.position.offset.rawValue)
    }
    send(ReadResponse(heartbeat: beat))
  }

  private func send(_ response: ReadResponse, _ charge: MemoryBudget.Reservation? = nil) {
    heartbeat?.sent()
    let (head, parts) = response.encodedParts()
    var message = OutboundMessage(head: head, parts: parts)
    message.charge = charge
    call.send(message)
  }

  private func report(_ fault: Fault, topic: String, partition: Int32) {
    var response = ReadResponse()
    var error = PartitionError()
    error.topic = topic
    error.partition = partition
    error.error = fault.status
    response.error = error
    send(response)
  }

  private func close(_ status: GRPCStatus) {
    guard !isClosed else { return }
    stop()
    call.finish(status)
  }

  private func stop() {
    guard !isClosed else { return }
    isClosed = true
    context.metrics.readStreams.add(-1)
    context.streams.remove(self)
    heartbeat?.stop()
    retry?.cancel()
    for cursor in cursors {
      if case .waiting(let waiter) = cursor.activity { waiter.cancel() }
    }
    cursors = []
  }
}
