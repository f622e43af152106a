import CommitLog
import NIOCore
import RecordFormat
import SkeinCore
import Transport
import Wire

/// One unary Fetch: reads its partitions in turn, waits for more where too little is there, answers
/// once. Confined to the connection's loop.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class FetchOperation: @unchecked Sendable {
  private enum Part {
    case failed(topic: String, partition: Int32, Fault)
    case reading(ReadPosition)
    case read(ReadPosition, ReadSlice)
  }

  private let context: BrokerContext
  private let reply: UnaryReply
  private let decoded: Bool
  private let maxBytes: Int
  private let minBytes: Int
  private let maxWait: Int64
  private var parts: [Part]
  private var bytes = 0
  private var done = false
  private var deadlinePassed = false
  private var timer: Scheduled<Void>?
  private var waiters: [ReadWaiter] = []

  private var eventLoop: any EventLoop { reply.eventLoop }

  init(
    request: FetchRequest, principal: Principal, context: BrokerContext, reply: UnaryReply
  ) throws(Fault) {
    let limits = context.limits
    var violations: [Fault.FieldViolation] = []
    if !(1...limits.maxFetchPartitions).contains(request.partitions.count) {
      violations.append(
        .init(field: "partitions", description: "1 to \(limits.maxFetchPartitions) partitions"))
    }
    if Int64(request.maxWaitMs) > limits.maxFetchWait {
      violations.append(.init(field: "max_wait_ms", description: "at most \(limits.maxFetchWait)"))
    }
    guard violations.isEmpty else {
      throw Fault(
        .invalidRequest, "the Fetch is not valid; see the field violations", violations: violations)
    }
    self.context = context
    self.reply = reply
    self.decoded = request.decoded
    self.maxBytes =
      request.maxBytes == 0 ? limits.defaultFetchBytes : min(Int(request.maxBytes), limits.maxFetchBytes)
    self.minBytes = min(max(1, Int(request.minBytes)), maxBytes)
    self.maxWait = Int64(request.maxWaitMs)
    self.parts = []
    for wanted in request.partitions {
      do throws(Fault) {
        parts.append(
          .reading(try ReadPosition(wanted, principal: principal, registry: context.registry)))
      } catch {
        parts.append(.failed(topic: wanted.topic, partition: wanted.partition, error))
      }
    }
  }

  func start() {
    reply.whenClosed { self.stop() }
    if maxWait > 0 {
      timer = eventLoop.scheduleTask(in: .milliseconds(maxWait)) {
        self.deadlinePassed = true
        self.respond()
      }
    }
    round()
  }

  // MARK: Reading

  /// Reads every partition that has given nothing yet, one after another so that `max_bytes` is
  /// shared in the order of the request.
  private func round() { readNext(from: 0) }

  private func readNext(from index: Int) {
    guard !done else { return }
    guard let next = parts.indices[index...].first(where: { isReading(parts[$0]) }), bytes < maxBytes,
      case .reading(let position) = parts[next]
    else { return roundEnded() }
    context.partitions.shard(of: position.key).onLoop { [maxBytes, bytes] shard in
      shard.read(
        position.key, from: position.offset, maxBytes: maxBytes - bytes,
        lastEpoch: position.lastEpoch, replyLoop: self.eventLoop
      ) { result in
        self.received(result, for: position, at: next)
      }
    }
  }

  private func isReading(_ part: Part) -> Bool {
    if case .reading = part { true } else { false }
  }

  private func received(_ result: Result<ReadSlice, Fault>, for position: ReadPosition, at index: Int) {
    guard !done else { return }
    switch result {
    case .failure(let fault):
      parts[index] = .failed(
        topic: position.topicName, partition: position.key.partition, fault)
    case .success(let slice):
      empty[index] = slice
      if !slice.batches.isEmpty || slice.next > position.offset {
        parts[index] = .read(position, slice)
        bytes += slice.bytes
      }
    }
    readNext(from: index + 1)
  }

  /// Where a partition without new records stood when it was last read.
  private var empty: [Int: ReadSlice] = [:]

  private func roundEnded() {
    let failed = parts.contains { if case .failed = $0 { true } else { false } }
    if bytes >= minBytes || maxWait == 0 || deadlinePassed || failed { return respond() }
    // One waiter for each partition at its end; the first that fires starts another round.
    for part in parts {
      let key: TopicPartition
      let end: Offset
      switch part {
      case .failed: continue
      case .reading(let position):
        key = position.key
        end = position.offset
      case .read: continue
      }
      let waiter = ReadWaiter(loop: eventLoop) { self.woken() }
      waiters.append(waiter)
      context.partitions.shard(of: key).onLoop { $0.wait(key, past: end, waiter) }
    }
    if waiters.isEmpty { respond() }
  }

  private func woken() {
    guard !done, !waiters.isEmpty else { return }
    cancelWaiters()
    round()
  }

  private func cancelWaiters() {
    for waiter in waiters { waiter.cancel() }
    waiters = []
  }

  private func stop() {
    done = true
    timer?.cancel()
    cancelWaiters()
  }

  // MARK: Answering

  private func respond() {
    guard !done else { return }
    stop()
    var response = FetchResponse()
    var reader = BatchReader(limits: BatchLimits())
    for (index, part) in parts.enumerated() {
      switch part {
      case .failed(let topic, let partition, let fault):
        var records = PartitionRecords()
        records.topic = topic
        records.partition = partition
        records.error = fault.status
        response.partitions.append(records)
      case .reading(let position):
        response.partitions.append(answer(position, empty[index], &reader))
      case .read(let position, let slice):
        response.partitions.append(answer(position, slice, &reader))
      }
    }
    context.metrics.bytesOut.add(bytes)
    reply.succeed(response.encoded())
  }

  private func answer(
    _ position: ReadPosition, _ slice: ReadSlice?, _ reader: inout BatchReader
  ) -> PartitionRecords {
    var records = PartitionRecords()
    records.topic = position.topicName
    records.partition = position.key.partition
    records.nextOffset = position.offset.rawValue
    guard let slice else { return records }
    records.highWatermark = slice.highWatermark.rawValue
    records.lastStableOffset = slice.highWatermark.rawValue
    records.logStartOffset = slice.logStart.rawValue
    records.leaderEpoch = slice.leaderEpoch.rawValue
    records.nextOffset = slice.next.rawValue
    if decoded {
      decode(slice, from: position.offset, into: &records, &reader)
    } else {
      records.batches = Payload(slice.batches)
    }
    return records
  }

  /// Decodes batches for a thin client, skipping what lies before the wanted offset. A batch that
  /// cannot be decoded stops there with a typed error and where to go on.
  private func decode(
    _ slice: ReadSlice, from offset: Offset, into out: inout PartitionRecords,
    _ reader: inout BatchReader
  ) {
    for batch in slice.batches {
      do throws(Fault) {
        try reader.decode(batch, from: offset, next: slice.next) { out.records.append($0) }
      } catch {
        out.nextOffset = Int64(error.metadata["next_offset"] ?? "") ?? slice.next.rawValue
        out.error = error.status
        return
      }
    }
  }
}

extension PartitionShard {
  /// Runs `action` on this shard's loop, at once when that is the caller's.
  func onLoop(_ action: @escaping @Sendable (PartitionShard) -> Void) {
    if loop.inEventLoop { action(self) } else { loop.execute { action(self) } }
  }
}
