import CommitLog
import NIOCore
import RecordFormat
import SkeinCore
import Synchronization
import Transport
import Wire

/// One unary Publish: partitions and batches its records, appends a batch to each partition, answers
/// when every one of them is durable or failed. Confined to the connection's loop.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class UnaryPublish: AppendReceiver, @unchecked Sendable {
  private let request: PublishRequest
  private let topic: Topic
  private let context: BrokerContext
  private let reply: UnaryReply
  private let receivedAt: Int64
  private var results: [RecordResult]
  /// Per batch: which records of the request it holds, in order.
  private var batches: [(partition: Int32, records: [Int], bytes: Int)] = []
  private var open = 0
  private var timings = Timings()

  /// Where the next keyless batch of any topic goes: round robin by request (sticky), shared by all
  /// connections.
  private static let turn = Atomic<UInt64>(0)

  init(request: PublishRequest, topic: Topic, context: BrokerContext, reply: UnaryReply) {
    self.request = request
    self.topic = topic
    self.context = context
    self.reply = reply
    self.receivedAt = context.time.monotonicNanoseconds
    self.results = Array(repeating: RecordResult(), count: request.records.count)
  }

  var eventLoop: any EventLoop { reply.eventLoop }

  func start() {
    var appends: [(TopicPartition, AppendRequest)] = []
    for (partition, records) in partitionRecords() {
      appends += build(partition: partition, records: records)
    }
    open = batches.count
    guard open > 0 else { return finish() }
    for (key, append) in appends {
      context.partitions.append(append, to: key, from: eventLoop)
    }
  }

  // MARK: Partitioning

  /// Record numbers by partition, in the order of the request; a record that names a partition that
  /// does not exist gets its error at once.
  private func partitionRecords() -> [(Int32, [Int])] {
    var order: [Int32] = []
    var groups: [Int32: [Int]] = [:]
    let perRecord = topic.partitioner.turnsPerRecord
    let count = UInt64(topic.partitions)
    let begin =
      Self.turn.wrappingAdd(
        perRecord ? UInt64(request.records.count) : 1, ordering: .relaxed
      ).oldValue
    for (index, record) in request.records.enumerated() {
      let partition: Int32
      if let explicit = record.partition {
        do throws(Fault) {
          try TopicRegistry.check(explicit, of: topic)
          partition = explicit
        } catch {
          fail([index], with: error, partition: explicit)
          continue
        }
      } else if let decided = decide(record) {
        partition = decided
      } else {
        let step = perRecord ? UInt64(index) : 0
        partition = Int32((begin &+ step) % count)
      }
      if groups[partition] == nil { order.append(partition) }
      groups[partition, default: []].append(index)
    }
    return order.map { ($0, groups[$0] ?? []) }
  }

  private func decide(_ record: Record) -> Int32? {
    guard let key = record.key else {
      return topic.partitioner.partition(key: nil, count: topic.partitions)
    }
    return key.withUnsafeBytes { topic.partitioner.partition(key: $0, count: topic.partitions) }
  }

  // MARK: Batches

  /// Builds the batches of one partition: as few as the topic's batch limit allows.
  private func build(partition: Int32, records: [Int]) -> [(TopicPartition, AppendRequest)] {
    var out: [(TopicPartition, AppendRequest)] = []
    let limits = context.limits.batchLimits(topic.settings)
    var builder = BatchBuilder(codec: topic.settings.compressionType.codec, capacity: 512, limits: limits)
    var inBatch: [Int] = []
    let now = context.time.wallMilliseconds
    let key = TopicPartition(topic: topic.id, partition: partition)

    func close() {
      guard !inBatch.isEmpty else { return }
      do throws(BatchError) {
        let batch = try builder.finish(producerID: -1, producerEpoch: -1, baseSequence: -1)
        let header = try batch.withUnsafeBytes { (bytes) throws(BatchError) in
          try BatchHeader(parsing: bytes)
        }
        batches.append((partition, inBatch, batch.count))
        out.append(
          (
            key,
            AppendRequest(
              batch: batch, header: header, generation: 0, currentGeneration: topic.generation,
              waitsForCommit: request.acks != .none, receivedAt: receivedAt, receiver: self,
              tag: UInt64(batches.count - 1))
          ))
      } catch {
        fail(inBatch, with: error.fault, partition: partition)
      }
      inBatch = []
    }

    for index in records {
      let record = request.records[index]
      do throws(Fault) {
        let size = try check(record, now: now)
        if builder.sizeInBytes + size > limits.maxBatchBytes { close() }
        try append(record, to: &builder, timestamp: record.timestampMs == 0 ? now : record.timestampMs)
        inBatch.append(index)
      } catch {
        fail([index], with: error, partition: partition)
      }
    }
    close()
    return out
  }

  /// The most that a record can take in a batch; throws if it may not be stored at all.
  private func check(_ record: Record, now: Int64) throws(Fault) -> Int {
    var size = 0
    for header in record.headers { size += header.name.utf8.count + header.value.count + 10 }
    size += (record.key?.count ?? 0) + (record.value?.count ?? 0)
    let limit = min(context.limits.maxRecordBytes, Int(topic.settings.maxBatchBytes) - 128)
    guard size <= limit else {
      throw Fault(
        .recordTooLarge,
        "a record of \(size) bytes exceeds the limit of \(limit) bytes of topic \"\(topic.name)\"; send smaller records",
        metadata: ["topic": topic.name, "size": String(size), "limit": String(limit)])
    }
    guard record.timestampMs >= 0 else {
      throw Fault(
        .timestampInvalid,
        "timestamp_ms \(record.timestampMs) is negative; send milliseconds since 1970, or 0 for the broker's clock"
      )
    }
    // Here as well as in the log, so that one bad clock does not cost the whole batch (R60).
    guard record.timestampMs <= now + PartitionLog.timestampSlack else {
      throw Fault(
        .timestampInvalid,
        "timestamp_ms \(record.timestampMs) is more than an hour ahead of the broker's clock (\(now)); check the client's clock and unit",
        metadata: ["timestamp_ms": String(record.timestampMs)])
    }
    return size + 64
  }

  private func append(_ record: Record, to builder: inout BatchBuilder, timestamp: Int64) throws(Fault) {
    do throws(BatchError) {
      try builder.append(record, timestamp: timestamp)
    } catch {
      throw error.fault
    }
  }

  // MARK: Answers

  private func fail(_ records: [Int], with fault: Fault, partition: Int32) {
    for index in records {
      results[index].partition = partition
      results[index].offset = -1
      results[index].error = fault.status
    }
  }

  func received(_ answer: AppendAnswer) {
    let batch = batches[Int(answer.tag)]
    switch answer.result {
    case .committed(let base, _, let synced):
      for (position, index) in batch.records.enumerated() {
        results[index].partition = batch.partition
        results[index].offset = base.map { $0.advanced(by: Int64(position)).rawValue } ?? -1
      }
      timings.queuedUs = max(timings.queuedUs, answer.queued / 1_000)
      timings.syncedUs = max(timings.syncedUs, synced / 1_000)
      context.metrics.recordsIn.add(batch.records.count)
      context.metrics.bytesIn.add(batch.bytes)
    case .refused(let fault):
      fail(batch.records, with: fault, partition: batch.partition)
    }
    open -= 1
  }

  func flushAnswers() {
    if open == 0 { finish() }
  }

  private func finish() {
    var response = PublishResponse()
    response.results = results
    response.timings = timings
    reply.succeed(response.encoded())
  }
}

extension TopicSettings.CompressionType {
  /// What the broker compresses its own batches with. A codec that saves nothing is not used.
  var codec: Codec {
    switch self {
    case .producer, .none: .none
    case .gzip: .gzip
    case .lz4: .lz4
    case .zstd: .zstd
    }
  }
}

extension BatchBuilder {
  /// Appends a record of the thin API.
  mutating func append(_ record: Record, timestamp: Int64) throws(BatchError) {
    var headers = RecordHeaders()
    for header in record.headers {
      try headers.append(name: header.name, value: header.value.array)
    }
    try withOptionalBytes(record.key) { (key) throws(BatchError) in
      try withOptionalBytes(record.value) { (value) throws(BatchError) in
        try headers.withSequence { (headers) throws(BatchError) in
          try append(key: key, value: value, headers: headers, timestamp: timestamp)
        }
      }
    }
  }
}

private func withOptionalBytes<R, E: Error>(
  _ bytes: SharedBytes?, _ body: (UnsafeRawBufferPointer?) throws(E) -> R
) throws(E) -> R {
  guard let bytes else { return try body(nil) }
  return try bytes.withUnsafeBytes { (raw) throws(E) in try body(raw) }
}
