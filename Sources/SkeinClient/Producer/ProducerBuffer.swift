import RecordFormat
import SkeinCore

/// The batching half of the producer, without I/O, clock or lock: records go into the open batch of
/// their partition, in place; batches are sealed when full, or when they are *ripe* (lingered, or
/// flushed) and their lane can send. Owned by `ProducerCore`, under its lock.
///
/// A ripe batch whose window is full keeps filling: under load batches grow by themselves.
struct ProducerBuffer: ~Copyable {
  /// One topic as this producer uses it.
  struct Topic {
    let name: String
    var partitioner: BuiltInPartitioner
    var generation: UInt32
    /// Lane of each partition; the count is the topic's partition count.
    var lanes: [Int] = []
    /// Where keyless records go now.
    var current = 0
  }

  /// A batch that takes records.
  final class OpenBatch {
    var builder: BatchBuilder
    let topic: Int
    let openedAt: Int64
    let ticket = BatchTicket()
    var charged = 0
    var isRipe = false
    /// Ripe, but its lane took nothing when it was its turn.
    var isParked = false
    /// Set when some record was placed by the partitioner: then its generation must hold.
    var isPartitioned = false

    init(builder: consuming BatchBuilder, topic: Int, openedAt: Int64) {
      self.builder = builder
      self.topic = topic
      self.openedAt = openedAt
    }
  }

  enum Appended {
    /// The buffer's bound is reached; nothing was taken.
    case full
    case taken(sealed: Bool, opened: Bool)
  }

  /// Bytes accounted per record beside key, value and headers: what the format adds, rounded up.
  static let recordOverhead = 24

  private(set) var topics: [Topic] = []
  /// Open batch of each lane of the machine.
  private(set) var open: [OpenBatch?] = []
  /// Bytes to allocate for a lane's next batch: what its last one took. A thousand quiet partitions
  /// must not hold a thousand full-sized buffers.
  private var sizeHints: [Int] = []
  /// Batches that could not be sealed (they compress to more than the limit), for the core to fail.
  var spoiled: [(lane: Int, batch: OpenBatch, error: SkeinError)] = []
  /// Lanes in the order in which their batches opened: linger is constant, so it expires in order.
  private var lingering = FIFO<(lane: Int, batch: OpenBatch)>()
  private var ripe = FIFO<Int>()
  /// Bytes taken and not yet given back.
  private(set) var used = 0
  /// Number of the batch sealed last; `flush` waits by it.
  private(set) var lastNumber: UInt64 = 0

  let configuration: ProducerConfiguration
  private var compressor: BatchCompressor
  private let lingerNanoseconds: Int64
  private let deadlineNanoseconds: Int64
  var producerID: Int64 = -1
  var producerEpoch: Int16 = -1
  /// As the broker announced them; a batch stays below both its limit and ours.
  var limits = BatchLimits() {
    didSet { batchBytes = min(configuration.batchBytes, limits.maxBatchBytes - BatchHeader.size) }
  }
  private var batchBytes: Int

  init(configuration: ProducerConfiguration) {
    self.configuration = configuration
    batchBytes = configuration.batchBytes
    compressor = BatchCompressor(
      codec: configuration.compression, capacity: configuration.batchBytes)
    lingerNanoseconds = configuration.linger.nanosecondsClamped
    deadlineNanoseconds = configuration.deliveryDeadline.nanosecondsClamped
  }

  // MARK: Topics

  mutating func addTopic(
    name: String, partitioner: BuiltInPartitioner, generation: UInt32, partitions: Int32,
    machine: inout ProducerMachine
  ) -> Int {
    var topic = Topic(name: name, partitioner: partitioner, generation: generation)
    for partition in 0..<partitions {
      topic.lanes.append(machine.addLane(topic: name, partition: partition))
      open.append(nil)
      sizeHints.append(4096)
    }
    topics.append(topic)
    return topics.count - 1
  }

  /// What the broker says now: more partitions are added behind, the generation is replaced.
  mutating func refresh(
    topic: Int, partitioner: BuiltInPartitioner, generation: UInt32, partitions: Int32,
    machine: inout ProducerMachine
  ) {
    topics[topic].partitioner = partitioner
    topics[topic].generation = generation
    let known = Int32(topics[topic].lanes.count)
    guard partitions > known else { return }
    for partition in known..<partitions {
      topics[topic].lanes.append(machine.addLane(topic: topics[topic].name, partition: partition))
      open.append(nil)
      sizeHints.append(4096)
    }
  }

  // MARK: Appending

  /// Puts one record into the open batch of its partition.
  /// - Parameter now: monotonic nanoseconds.
  mutating func append(
    _ record: RecordInput, topic: Int, waiter: CheckedContinuation<RecordMetadata?, any Error>?,
    now: Int64, machine: inout ProducerMachine
  ) throws(SkeinError) -> Appended {
    let cost = record.sizeInBytes + Self.recordOverhead
    guard used + cost <= configuration.bufferBytes || used == 0 else { return .full }
    var lane = try choose(record, topic: topic)
    var sealed = false
    if let batch = open[lane], batch.charged + cost > batchBytes {
      seal(lane, machine: &machine)
      sealed = true
      // The seal may have moved the partition of keyless records on.
      lane = try choose(record, topic: topic)
    }
    let batch: OpenBatch
    var opened = false
    if let current = open[lane] {
      batch = current
    } else {
      batch = OpenBatch(
        builder: BatchBuilder(capacity: sizeHints[lane], limits: limits),
        topic: topic, openedAt: now)
      opened = true
    }
    do {
      try batch.builder.append(
        key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp)
    } catch {
      throw SkeinError(error.fault)
    }
    if opened {
      open[lane] = batch
      lingering.append((lane, batch))
    }
    batch.charged += cost
    used += cost
    if record.partition == nil { batch.isPartitioned = true }
    if let waiter {
      batch.ticket.waiters.append((Int32(batch.builder.count - 1), waiter))
    } else {
      batch.ticket.unattended += 1
    }
    if configuration.deliveryHandler != nil { batch.ticket.tags.append(record.tag) }
    if record.partition == nil, topics[topic].partitioner.turnsPerRecord { advance(topic) }
    if batch.charged >= batchBytes {
      seal(lane, machine: &machine)
      sealed = true
    }
    return .taken(sealed: sealed, opened: opened)
  }

  private func choose(_ record: RecordInput, topic: Int) throws(SkeinError) -> Int {
    let lanes = topics[topic].lanes
    if let partition = record.partition {
      guard partition >= 0, Int(partition) < lanes.count else {
        throw SkeinError(
          .partitionNotFound,
          "\(topics[topic].name) has no partition \(partition); valid are 0 to \(lanes.count - 1)",
          metadata: ["topic": topics[topic].name, "partition": String(partition)])
      }
      return lanes[Int(partition)]
    }
    let chosen = topics[topic].partitioner.partition(key: record.key, count: Int32(lanes.count))
    return lanes[chosen.map(Int.init) ?? topics[topic].current]
  }

  private mutating func advance(_ topic: Int) {
    topics[topic].current = (topics[topic].current + 1) % topics[topic].lanes.count
  }

  // MARK: Sealing

  /// Closes the lane's open batch and queues it in the machine, with the next sequences (P3).
  private mutating func seal(_ lane: Int, machine: inout ProducerMachine) {
    guard let batch = open[lane] else { return }
    open[lane] = nil
    let topic = batch.topic
    if !topics[topic].partitioner.turnsPerRecord, topics[topic].lanes[topics[topic].current] == lane {
      advance(topic)
    }
    let count = Int32(batch.builder.count)
    let sequence = machine.reserveSequence(lane: lane, count: count)
    let payload: SharedBytes
    do {
      let plain = try batch.builder.finish(
        producerID: producerID, producerEpoch: producerEpoch, baseSequence: sequence)
      payload =
        configuration.compression == .none
        ? plain
        : try compressor.compress(
          plain, producerID: producerID, producerEpoch: producerEpoch, baseSequence: sequence)
    } catch {
      machine.returnSequence(lane: lane, sequence)
      spoiled.append((lane, batch, SkeinError(error.fault)))
      return
    }
    // The queues of linger may hold the batch a while longer; its buffer they must not.
    batch.builder = BatchBuilder(capacity: 0)
    sizeHints[lane] = min(batchBytes, max(1024, batch.charged)) + BatchHeader.size
    lastNumber += 1
    machine.enqueue(
      OutboundBatch(
        payload: payload, baseSequence: sequence, recordCount: count, chargedBytes: batch.charged,
        deadline: batch.openedAt + deadlineNanoseconds,
        generation: batch.isPartitioned ? topics[topic].generation : 0, number: lastNumber,
        ticket: batch.ticket),
      lane: lane)
  }

  /// Marks what has lingered long enough as ripe. Returns when the next one will have, in monotonic
  /// nanoseconds, or nil if nothing lingers.
  mutating func ripen(now: Int64) -> Int64? {
    while let first = lingering.first {
      let due = first.batch.openedAt + lingerNanoseconds
      let isStillOpen = open[first.lane] === first.batch && !first.batch.isRipe
      guard due <= now || !isStillOpen else { return due }
      _ = lingering.popFirst()
      if isStillOpen { markRipe(first.lane, first.batch) }
    }
    return nil
  }

  private mutating func markRipe(_ lane: Int, _ batch: OpenBatch) {
    batch.isRipe = true
    ripe.append(lane)
  }

  /// Seals one ripe batch whose lane takes it; the others on the way are parked, filling, until their
  /// lane moves. Returns whether the machine has something new to send.
  mutating func sealRipe(machine: inout ProducerMachine) -> Bool {
    while let lane = ripe.popFirst() {
      guard let batch = open[lane], batch.isRipe, !batch.isParked else { continue }
      if machine.takesPartialBatch(lane: lane) {
        seal(lane, machine: &machine)
        return true
      }
      batch.isParked = true
    }
    return false
  }

  /// An answer came for the lane, or its pause is over: a parked batch may leave.
  mutating func laneMoved(_ lane: Int) {
    guard let batch = open[lane], batch.isParked else { return }
    batch.isParked = false
    ripe.append(lane)
  }

  /// The same for all lanes: a stream was opened, or time has passed.
  mutating func allLanesMoved() {
    for lane in open.indices { laneMoved(lane) }
  }

  /// Seals every open batch, also behind a full window.
  mutating func sealAll(machine: inout ProducerMachine) {
    for lane in open.indices where open[lane] != nil { seal(lane, machine: &machine) }
    _ = lingering.drain()
    _ = ripe.drain()
  }

  /// Without a stream: seals what has reached its delivery deadline, so that the machine fails it.
  mutating func sealOverdue(now: Int64, machine: inout ProducerMachine) {
    for lane in open.indices {
      guard let batch = open[lane], batch.openedAt + deadlineNanoseconds <= now else { continue }
      seal(lane, machine: &machine)
    }
  }

  var hasOpenBatches: Bool { open.contains { $0 != nil } }

  /// A batch is over: its bytes are free again.
  mutating func release(_ bytes: Int) { used -= bytes }

  /// The producer failed: every open batch's ticket, with its lane.
  mutating func abandon() -> [(lane: Int, batch: OpenBatch)] {
    var abandoned: [(Int, OpenBatch)] = []
    for lane in open.indices {
      guard let batch = open[lane] else { continue }
      abandoned.append((lane, batch))
      used -= batch.charged
      open[lane] = nil
    }
    _ = lingering.drain()
    _ = ripe.drain()
    return abandoned
  }
}
