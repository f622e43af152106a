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
    /// Where `staging` is set: `sticky`, for what the broker leaves to us.
    var partitioner: BuiltInPartitioner
    /// The partitioner is a plug-in: the broker is asked (`ProducerBuffer+Staging.swift`).
    var staging: Staging?
    /// Where its records are taken while there is a `staging`.
    let front: StagingFront
    var generation: UInt32
    var codec: Codec
    let metrics: SentMetrics
    /// Lane of each partition; the count is the topic's partition count.
    var lanes: [Int] = []
    /// What the topic becomes once everything sent is answered; see `ProducerBuffer+Repartition.swift`.
    var change: TopicChange?
    /// Its lanes are held: the broker says, or we know, that the partitioner is another one.
    var isChanging = false
    /// Where keyless records go now.
    var current = 0
  }

  /// A batch that takes records.
  final class OpenBatch {
    var builder: BatchBuilder
    let topic: Int
    let codec: Codec
    let metrics: SentMetrics?
    let openedAt: Int64
    /// Callers of `send`, one tag per record if they are kept, and the records that nobody waits for: what
    /// the ticket of the sealed batch is made of.
    var waiters: [(index: Int32, waiter: RecordWaiter)] = []
    var tags: [UInt64] = []
    var unattended = 0
    var charged = 0
    var isRipe = false
    /// Ripe, but its lane took nothing when it was its turn.
    var isParked = false
    /// A `ChunkPlacing` has it: it is in its lane again when that ends.
    var isAway = false
    var placement = Placement()
    /// The last record came with an explicit partition.
    var isLastExplicit: Bool

    init(
      builder: consuming BatchBuilder, topic: Int, codec: Codec, metrics: SentMetrics? = nil,
      openedAt: Int64, startsExplicit: Bool
    ) {
      self.builder = builder
      self.topic = topic
      self.codec = codec
      self.metrics = metrics
      self.openedAt = openedAt
      placement.startsExplicit = startsExplicit
      isLastExplicit = startsExplicit
    }

    /// Notes what belongs to a record that the builder has just taken.
    @inline(__always)
    func book(_ record: RecordInput, cost: Int, waiter: RecordWaiter?, keepsTag: Bool) {
      charged += cost
      let isExplicit = record.partition != nil
      if isExplicit != isLastExplicit {
        isLastExplicit = isExplicit
        placement.switches.append(Int32(builder.count - 1))
      }
      if let waiter {
        waiters.append((Int32(builder.count - 1), waiter))
      } else {
        unattended += 1
      }
      if keepsTag { tags.append(record.tag) }
    }

    /// The same for the last `count` records, of which nothing is special.
    func book(_ count: Int, cost: Int, tags: UnsafeBufferPointer<UInt64>?) {
      guard count > 0 else { return }
      charged += cost
      if isLastExplicit {
        isLastExplicit = false
        placement.switches.append(Int32(builder.count - count))
      }
      unattended += count
      if let tags { self.tags.append(contentsOf: tags) }
    }

    /// Who waits for it; empties what it is made of.
    func takeTicket() -> BatchTicket {
      defer {
        waiters = []
        tags = []
      }
      return BatchTicket(
        waiters: waiters, tags: tags, unattended: unattended, placement: placement, codec: codec,
        openedAt: openedAt, metrics: metrics)
    }
  }

  enum Appended {
    /// The buffer's bound is reached; nothing was taken.
    case full
    /// `places`: answers are there for who appends to apply.
    case taken(sealed: Bool, opened: Bool, places: Bool = false)
  }

  /// Bytes accounted per record beside key, value and headers: what the format adds, rounded up.
  static let recordOverhead = 24

  // What follows is changed by this file and `ProducerBuffer+Sealing.swift` only.
  var topics: [Topic] = []
  /// Open batch of each lane of the machine.
  var open: [OpenBatch?] = []
  /// Bytes to allocate for a lane's next batch: what its last one took. A thousand quiet partitions
  /// must not hold a thousand full-sized buffers.
  var sizeHints: [Int] = []
  /// Batches that could not be sealed (they compress to more than the limit), for the core to fail.
  var spoiled: [(lane: Int, batch: OpenBatch, error: SkeinError)] = []
  /// Chunks whose records fail without having had a partition, for the core to tell.
  var unplaced: [(topic: Int, chunk: StagedChunk, error: SkeinError)] = []
  /// Lanes in the order in which their batches opened: linger is constant, so it expires in order.
  var lingering = FIFO<(lane: Int, batch: OpenBatch)>()
  var ripe = FIFO<Int>()
  /// Bytes taken and not yet given back.
  var used = 0
  /// Number of the batch sealed last; `flush` waits by it.
  var lastNumber: UInt64 = 0
  /// Number of the chunk staged last; `flush` waits by it, too.
  var lastChunk: UInt64 = 0
  var lastQuestion: UInt64 = 0
  /// Topics of the questions of this stream that are not answered.
  var questions: [UInt64: Int] = [:]

  let configuration: ProducerConfiguration
  /// One for each codec in use.
  var compressors: [Codec: BatchCompressor] = [:]
  /// Topic of each lane of the machine.
  var laneTopics: [Int] = []
  /// How many topics are changing: what the usual path looks at.
  var changing = 0
  /// Somebody wants the tags back.
  let keepsTags: Bool
  let lingerNanoseconds: Int64
  let deadlineNanoseconds: Int64
  var producerID: Int64 = -1
  var producerEpoch: Int16 = -1
  /// As the broker announced them; a batch stays below both its limit and ours.
  var limits = BatchLimits() {
    didSet { batchBytes = min(configuration.batchBytes, limits.maxBatchBytes - BatchHeader.size) }
  }
  var batchBytes: Int

  init(configuration: ProducerConfiguration) {
    self.configuration = configuration
    batchBytes = configuration.batchBytes
    keepsTags = configuration.deliveryHandler != nil
    lingerNanoseconds = configuration.linger.nanosecondsClamped
    deadlineNanoseconds = configuration.deliveryDeadline.nanosecondsClamped
  }

  // MARK: Topics

  mutating func addTopic(
    name: String, partitioner: TopicPartitioner, generation: UInt32, partitions: Int32, codec: Codec?,
    machine: inout ProducerMachine
  ) -> Int {
    let front = StagingFront()
    topics.append(
      Topic(
        name: name, partitioner: partitioner.local, staging: staging(partitioner, front: front), front: front,
        generation: generation, codec: configuration.compression ?? codec ?? .none,
        metrics: SentMetrics(topic: name)))
    addLanes(topic: topics.count - 1, upTo: partitions, machine: &machine)
    return topics.count - 1
  }

  /// More partitions are added behind those that are known.
  mutating func addLanes(topic: Int, upTo partitions: Int32, machine: inout ProducerMachine) {
    let known = Int32(topics[topic].lanes.count)
    guard partitions > known else { return }
    for partition in known..<partitions {
      topics[topic].lanes.append(machine.addLane(topic: topics[topic].name, partition: partition))
      laneTopics.append(topic)
      open.append(nil)
      sizeHints.append(4096)
    }
  }

  // MARK: Appending

  /// Puts one record into the open batch of its partition.
  /// - Parameters:
  ///   - clock: read when a batch opens, not for each record.
  ///   - takenAt: for a record that is placed anew: when it was taken. It has its room in the buffer.
  mutating func append(
    _ record: RecordInput, topic: Int, waiter: RecordWaiter?, clock: SystemClock, takenAt: Int64? = nil,
    machine: inout ProducerMachine
  ) throws(SkeinError) -> Appended {
    let cost = record.sizeInBytes + Self.recordOverhead
    if let staging = topics[topic].staging, record.partition == nil || !staging.isEmpty {
      return try stage(
        record, cost: cost, staging: staging, topic: topic, waiter: waiter, clock: clock, takenAt: takenAt)
    }
    guard hasRoom(cost) || takenAt != nil else { return .full }
    return try put(
      record, topic: topic, waiter: waiter, clock: clock, takenAt: takenAt, machine: &machine)
  }

  /// Whether the buffer's bound allows so many bytes more. Something always goes into an empty one.
  func hasRoom(_ cost: Int) -> Bool { used + cost <= configuration.bufferBytes || used == 0 }

  /// As `append`, for a record whose partition can be told here and that has its room in the buffer.
  mutating func put(
    _ record: RecordInput, topic: Int, waiter: RecordWaiter?, clock: SystemClock, takenAt: Int64?,
    machine: inout ProducerMachine
  ) throws(SkeinError) -> Appended {
    let cost = record.sizeInBytes + Self.recordOverhead
    let codec = record.codec ?? topics[topic].codec
    var lane = try choose(record, topic: topic)
    var sealed = false
    if let batch = open[lane], batch.charged + cost > batchBytes || batch.codec != codec {
      seal(lane, machine: &machine)
      sealed = true
      // The seal may have moved the partition of keyless records on.
      lane = try choose(record, topic: topic)
      // Where they go now, a batch may be open too, of another codec.
      if let batch = open[lane], batch.codec != codec { seal(lane, machine: &machine) }
    }
    let batch: OpenBatch
    var opened = false
    if let current = open[lane] {
      batch = current
    } else {
      batch = OpenBatch(
        builder: BatchBuilder(capacity: sizeHints[lane], limits: limits),
        topic: topic, codec: codec, metrics: topics[topic].metrics,
        openedAt: takenAt ?? clock.monotonicNanoseconds, startsExplicit: record.partition != nil)
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
    used += cost
    let isExplicit = record.partition != nil
    batch.book(record, cost: cost, waiter: waiter, keepsTag: keepsTags)
    if !isExplicit, topics[topic].partitioner.turnsPerRecord { advance(topic) }
    if batch.charged >= batchBytes {
      seal(lane, machine: &machine)
      sealed = true
    }
    return .taken(sealed: sealed, opened: opened)
  }

  func choose(_ record: RecordInput, topic: Int) throws(SkeinError) -> Int {
    let count = topics[topic].lanes.count
    if let partition = record.partition {
      guard partition >= 0, Int(partition) < count else {
        throw SkeinError(
          .partitionNotFound,
          "\(topics[topic].name) has no partition \(partition); valid are 0 to \(count - 1)",
          metadata: ["topic": topics[topic].name, "partition": String(partition)])
      }
      return topics[topic].lanes[Int(partition)]
    }
    if record.assigned >= 0 { return topics[topic].lanes[Int(record.assigned)] }
    let chosen = topics[topic].partitioner.partition(key: record.key, count: Int32(count))
    return topics[topic].lanes[chosen.map(Int.init) ?? topics[topic].current]
  }

  mutating func advance(_ topic: Int) {
    topics[topic].current = (topics[topic].current + 1) % topics[topic].lanes.count
  }
}
