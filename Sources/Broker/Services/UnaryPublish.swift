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
/// What a partition refuses because the topic gets, or got, another partitioner was not appended: those
/// records are placed again, by the partitioner then in force, for `patience`.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class UnaryPublish: AppendReceiver, @unchecked Sendable {
  private let request: PublishRequest
  private let tenant: TenantName
  /// As it was when the records were placed.
  private var topic: Topic
  private let context: BrokerContext
  private let reply: UnaryReply
  private let receivedAt: Int64
  private var results: [RecordResult]
  /// Per batch: which records of the request it holds, in order.
  private var batches: [(partition: Int32, records: [Int], bytes: Int)] = []
  private var open = 0
  /// Refused by a partition that was under another generation, and by which fault.
  private var again: [Int] = []
  private var whyAgain: Fault?
  /// How long records are placed anew, and the pause before: a fence lasts as long as a sync.
  private static let patience: Int64 = 2_000_000_000
  private static let pause = TimeAmount.milliseconds(2)
  private var timings = Timings()

  /// Where the next keyless batch of any topic goes: round robin by request (sticky), shared by all
  /// connections.
  private static let turn = Atomic<UInt64>(0)

  init(
    request: PublishRequest, tenant: TenantName, topic: Topic, context: BrokerContext, reply: UnaryReply
  ) {
    self.request = request
    self.tenant = tenant
    self.topic = topic
    self.context = context
    self.reply = reply
    self.receivedAt = context.time.monotonicNanoseconds
    self.results = Array(repeating: RecordResult(), count: request.records.count)
  }

  var eventLoop: any EventLoop { reply.eventLoop }

  func start() { place(Array(request.records.indices)) }

  // MARK: Partitioning

  /// Finds a partition for each of these records, then appends them: at once, or when the plug-in answers.
  private func place(_ records: [Int]) {
    guard topic.builtIn == nil else { return append(records, placed: nil) }
    let unplaced = records.filter { request.records[$0].partition == nil }
    guard !unplaced.isEmpty else { return append(records, placed: nil) }
    var columns = PlacementColumnsBuilder(topic.current)
    var chunks: [PlacementColumns] = []
    for index in unplaced {
      request.records[index].add(to: &columns)
      if columns.count == PlacementColumns.maximum { chunks.append(columns.take()) }
    }
    if columns.count > 0 { chunks.append(columns.take()) }
    guard let placer = context.partitioning.placer(of: topic) else {
      // Replaced between the two look-ups.
      (again, whyAgain) = (records, Self.replaced)
      return flushAnswers()
    }
    place(chunks, from: 0, of: records, by: placer, [])
  }

  private static let replaced = Fault(
    .partitionerUnavailable, "the partitioner was replaced while the records were placed; try again",
    retryAfterMilliseconds: 100)

  /// One call for each 10,000 records, one after the other.
  private func place(
    _ chunks: [PlacementColumns], from index: Int, of records: [Int], by placer: TopicPlacer,
    _ before: [Int32]
  ) {
    guard index < chunks.count else { return append(records, placed: before) }
    placer.place(chunks[index], on: eventLoop) { result in
      switch result {
      case .success(let placed):
        self.place(chunks, from: index + 1, of: records, by: placer, before + placed)
      case .failure(let fault):
        let unplaced = records.filter { self.request.records[$0].partition == nil }
        self.fail(unplaced, with: fault, partition: -1)
        self.append(records.filter { self.request.records[$0].partition != nil }, placed: nil)
      }
    }
  }

  /// - Parameter placed: of a plug-in, for the records without an explicit partition, in order.
  private func append(_ records: [Int], placed: [Int32]?) {
    var appends: [(TopicPartition, AppendRequest)] = []
    for (partition, records) in partition(records, placed) {
      appends += build(partition: partition, records: records)
    }
    open = appends.count
    guard open > 0 else { return flushAnswers() }
    for (key, append) in appends {
      context.partitions.append(append, to: key, from: eventLoop)
    }
  }

  /// Record numbers by partition, in the order of the request; a record that names a partition that
  /// does not exist gets its error at once.
  private func partition(_ records: [Int], _ placed: [Int32]?) -> [(Int32, [Int])] {
    var order: [Int32] = []
    var groups: [Int32: [Int]] = [:]
    let perRecord = topic.builtIn?.turnsPerRecord == true
    let count = UInt64(topic.partitions)
    let begin =
      Self.turn.wrappingAdd(
        perRecord ? UInt64(records.count) : 1, ordering: .relaxed
      ).oldValue
    var next = 0
    for (number, index) in records.enumerated() {
      let record = request.records[index]
      let partition: Int32
      if let explicit = record.partition {
        do throws(Fault) {
          try TopicRegistry.check(explicit, of: topic)
          partition = explicit
        } catch {
          fail([index], with: error, partition: explicit)
          continue
        }
      } else if let decided = decide(record, placed, &next) {
        partition = decided
      } else {
        let step = perRecord ? UInt64(number) : 0
        partition = Int32((begin &+ step) % count)
      }
      if groups[partition] == nil { order.append(partition) }
      groups[partition, default: []].append(index)
    }
    return order.map { ($0, groups[$0] ?? []) }
  }

  /// Nil: wherever it is the batch's turn.
  private func decide(_ record: Record, _ placed: [Int32]?, _ next: inout Int) -> Int32? {
    guard let builtIn = topic.builtIn else {
      guard let placed, next < placed.count else { return nil }
      defer { next += 1 }
      return placed[next] >= 0 ? placed[next] : nil
    }
    guard let key = record.key else {
      return builtIn.partition(key: nil, count: topic.partitions)
    }
    return key.withUnsafeBytes { builtIn.partition(key: $0, count: topic.partitions) }
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
        // A partitioner placed something in it; only what names its partition itself is no generation's.
        let isPlaced = inBatch.contains { request.records[$0].partition == nil }
        out.append(
          (
            key,
            AppendRequest(
              batch: batch, header: header, generation: isPlaced ? topic.generation : 0,
              currentGeneration: topic.generation,
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
    if record.key == nil, topic.settings.isCompacted {
      throw Fault(
        .keyRequired, "topic \"\(topic.name)\" is compacted, and the record has no key; give it one",
        metadata: ["topic": topic.name])
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
    case .refused(let fault) where fault.reason == .partitionerChanged || fault.reason == .swapInProgress:
      again += batch.records
      whyAgain = fault
    case .refused(let fault):
      fail(batch.records, with: fault, partition: batch.partition)
    }
    open -= 1
  }

  func flushAnswers() {
    guard open == 0 else { return }
    guard let fault = whyAgain else { return finish() }
    // In the order of the request, so that records of a key stay in theirs.
    let records = again.sorted()
    (again, whyAgain) = ([], nil)
    guard context.time.monotonicNanoseconds - receivedAt < Self.patience else {
      fail(records, with: fault, partition: -1)
      return finish()
    }
    eventLoop.scheduleTask(in: Self.pause) { self.placeAgain(records) }
  }

  private func placeAgain(_ records: [Int]) {
    do throws(Fault) {
      topic = try context.registry.topic(request.topic, of: tenant)
    } catch {
      fail(records, with: error, partition: -1)
      return finish()
    }
    place(records)
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

extension Record {
  /// What a partitioner is told of it.
  fileprivate func add(to columns: inout PlacementColumnsBuilder) {
    withOptionalBytes(key) { key in
      columns.append(key: key, timestamp: timestampMs) { name in
        headers.first { $0.name == name }?.value.array
      }
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
