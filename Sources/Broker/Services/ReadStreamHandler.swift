import CommitLog
import NIOCore
import SkeinCore
import Transport
import Wire

/// One Read stream: explicit partitions, credits in messages and bytes (stream rule 2). Confined to
/// the connection's loop; what it reads and when is its pump's.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class ReadStreamHandler: CallHandler, DrainableStream, PumpOwner, @unchecked Sendable {
  private let call: Call
  private let context: BrokerContext
  private let principal: Principal
  private var heartbeat: StreamHeartbeat?
  let eventLoop: any EventLoop
  /// Made by `open`.
  private var pump: PartitionPump?
  private var isClosed = false
  private var cursors: [PartitionCursor] = []

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
        guard pump == nil else {
          throw Fault(.streamNotOpen, "this stream is open already; use a second stream")
        }
        try begin(open)
      }
      guard let pump else {
        throw Fault(.streamNotOpen, "the first message of Read must be `open`; send it first")
      }
      if let credit = request.credit { pump.grant(messages: credit.messages, bytes: credit.bytes) }
      pump.pump()
    } catch {
      close(GRPCStatus(error))
    }
  }

  func receivedEnd() {
    close(.ok)
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { stop() }

  func writable() { pump?.pump() }

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
    let pump = PartitionPump(
      context: context, eventLoop: eventLoop, messageBytes: open.maxMessageBytes, owner: self)
    self.pump = pump
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
        let cursor = PartitionCursor(position)
        cursors.append(cursor)
        pump.release(cursor)
      } catch {
        report(error, topic: wanted.topic, partition: wanted.partition)
      }
    }
  }

  // MARK: From the pump

  var takesRecords: Bool { call.isWritable }

  func limit(of cursor: PartitionCursor) -> Offset { .limit }

  func deliver(_ run: PumpedBatches) {
    var response = ReadResponse()
    response.read = ReadBatches(run)
    response.batches = Payload(run.batches)
    send(response, run.charge)
  }

  func failed(_ cursor: PartitionCursor, _ fault: Fault) {
    report(fault, topic: cursor.topicName, partition: cursor.key.partition)
  }

  // MARK: Sending and ending

  /// A heartbeat says where the stream would resume.
  private func send(_ beat: Heartbeat) {
    var beat = beat
    beat.positions = cursors.map {
      PartitionOffset(topic: $0.topicName, partition: $0.key.partition, offset: $0.offset.rawValue)
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
    for cursor in cursors { pump?.end(cursor) }
    pump?.stop()
    cursors = []
  }
}

extension ReadBatches {
  /// What is said of a run of batches.
  init(_ run: PumpedBatches) {
    self.init()
    topic = run.cursor.topicName
    partition = run.cursor.key.partition
    baseOffset = run.base.rawValue
    nextOffset = run.next.rawValue
    highWatermark = run.highWatermark.rawValue
    logStartOffset = run.logStart.rawValue
    leaderEpoch = run.leaderEpoch.rawValue
    totalMessages = run.totalMessages
    totalBytes = run.totalBytes
  }
}
